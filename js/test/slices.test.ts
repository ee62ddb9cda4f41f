import { expect, test, vi } from "vitest";
import { type Job, perform } from "../src/hashing";
import { Slices } from "../src/slices";
import { settle, TestClock } from "./clock";

const MIB = 1024 * 1024;

function rig(does: (job: Job) => ReturnType<typeof perform> = perform) {
  const clock = new TestClock();
  const slices = new Slices(does, clock);
  const file = new File([new Uint8Array([1, 2, 3, 4])], "a.bin", { lastModified: 5 });
  slices.lend([
    { path: "d/a.bin", file },
    { path: "e", file: null },
  ]);
  return { clock, slices, file };
}

function failing(...names: string[]) {
  return vi.fn(async (job: Job) => {
    const name = names.shift();
    if (name) throw new DOMException("said so", name);
    return perform(job);
  });
}

test("a slice comes with its digest; a digest without bytes", async () => {
  const { slices } = rig();
  const slice = await slices.slice("read", "d/a.bin", 1, 2);
  expect([...slice.bytes]).toEqual([2, 3]);
  const digest = await slices.slice("digest", "d/a.bin", 1, 2);
  expect(digest).toMatchObject({ digest: slice.digest, bytes: new Uint8Array(0) });
});

test("an empty file has one empty slice", async () => {
  const { slices } = rig();
  slices.lend([{ path: "empty", file: new File([], "empty") }]);
  expect((await slices.slice("read", "empty", 0, 0)).bytes.byteLength).toBe(0);
});

test("a file, or folder, that this page has not got is away", async () => {
  const { slices } = rig();
  for (const path of ["b", "e", "__proto__"]) {
    await expect(slices.slice("read", path, 0, 1)).rejects.toMatchObject({ code: "source-away" });
  }
});

test("a slice beyond the end, or one that is shorter than asked, is of a file that was changed", async () => {
  const short = rig(async (job) => ({ ...(await perform(job)), length: 1 }));
  await expect(short.slices.slice("read", "d/a.bin", 0, 2)).rejects.toMatchObject({ code: "source-changed" });
  await expect(rig().slices.slice("read", "d/a.bin", 3, 2)).rejects.toMatchObject({ code: "source-changed" });
});

test("what cannot be read is tried three times", async () => {
  const does = failing("NotReadableError", "NotReadableError");
  const { slices, clock } = rig(does);
  const read = slices.slice("read", "d/a.bin", 0, 4);
  await clock.pass(1000);
  expect((await read).bytes.byteLength).toBe(4);
  expect(does).toHaveBeenCalledTimes(3);
});

test("what can never be read is a storage error; what could be read before, and is refused now, was changed", async () => {
  const names = ["NotReadableError", "NotReadableError", "NotReadableError"];
  const fresh = rig(failing(...names));
  const refused = expect(fresh.slices.slice("read", "d/a.bin", 0, 4)).rejects.toMatchObject({
    code: "storage",
  });
  await fresh.clock.pass(1000);
  await refused;
  const known = rig(failing("", ...names));
  (await known.slices.slice("read", "d/a.bin", 0, 1)).release();
  const changed = expect(known.slices.slice("read", "d/a.bin", 0, 4)).rejects.toMatchObject({
    code: "source-changed",
  });
  await known.clock.pass(1000);
  await changed;
});

test("a file that is gone is a storage error that says so", async () => {
  const { slices, clock } = rig(failing("NotFoundError", "NotFoundError", "NotFoundError"));
  const refused = expect(slices.slice("digest", "d/a.bin", 0, 4)).rejects.toMatchObject({
    code: "storage",
    message: expect.stringContaining("no longer exists"),
  });
  await clock.pass(1000);
  await refused;
});

test("where a browser tells that size or time have changed, it is not tried again", async () => {
  const does = failing("NotReadableError");
  const { slices, file } = rig(does);
  Object.defineProperty(file, "lastModified", { value: 6 });
  await expect(slices.slice("read", "d/a.bin", 0, 4)).rejects.toMatchObject({ code: "source-changed" });
  expect(does).toHaveBeenCalledOnce();
});

test("memory is used again for the next slice once what was in it is sent", async () => {
  const given: (ArrayBuffer | null)[] = [];
  const { slices } = rig((job) => {
    if (job.do === "read") given.push(job.into);
    return perform(job);
  });
  const first = await slices.slice("read", "d/a.bin", 0, 4);
  const second = await slices.slice("read", "d/a.bin", 0, 4);
  first.release();
  const third = await slices.slice("read", "d/a.bin", 1, 2);
  expect([...third.bytes]).toEqual([2, 3]);
  expect(given[2]).toBe(first.bytes.buffer);
  expect(given[1]).not.toBe(given[0]);
  expect([...second.bytes]).toEqual([1, 2, 3, 4]);
});

test("no more than 8 MiB are between reading and sending", async () => {
  const does = vi.fn(async () => ({ digest: "d", bytes: new ArrayBuffer(2 * MIB), length: 2 * MIB }));
  const { slices } = rig(does);
  const file = new File([], "big");
  Object.defineProperty(file, "size", { value: 100 * MIB });
  slices.lend([{ path: "big", file }]);
  const asked = Array.from({ length: 8 }, (_, n) => slices.slice("read", "big", n * 2 * MIB, 2 * MIB));
  await settle();
  expect(does).toHaveBeenCalledTimes(4);
  (await asked[0])?.release();
  await settle();
  expect(does).toHaveBeenCalledTimes(5);
});

test("what could not be read gives its memory back", async () => {
  const { slices, clock } = rig(() => Promise.reject(new DOMException("no", "NotFoundError")));
  const file = new File([], "big");
  Object.defineProperty(file, "size", { value: 100 * MIB });
  slices.lend([{ path: "big", file }]);
  for (let times = 0; times < 3; times++) {
    const refused = expect(slices.slice("read", "big", 0, 16 * MIB)).rejects.toMatchObject({
      code: "storage",
    });
    await clock.pass(1000);
    await refused;
  }
});
