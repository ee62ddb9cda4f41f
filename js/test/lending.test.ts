import { IDBFactory } from "fake-indexeddb";
import { beforeEach, expect, test, vi } from "vitest";
import type { Message } from "../src/frames";
import { perform } from "../src/hashing";
import { KeptHandles } from "../src/kept";
import { Lending } from "../src/lending";
import { Slices } from "../src/slices";
import { type Picked, Refusal } from "../src/types";
import { TestClock } from "./clock";

let offered: Message[];
let refusal: Refusal | null;
let kept: KeptHandles;
let lending: Lending;

function fresh(): Lending {
  const offerPart = async (fields: Message) => {
    offered.push(fields);
    if (refusal) throw refusal;
  };
  return new Lending(new Slices(perform, new TestClock()), kept, offerPart);
}

beforeEach(() => {
  offered = [];
  refusal = null;
  kept = new KeptHandles(new IDBFactory());
  lending = fresh();
});

function picked(path: string, bytes = [1, 2, 3]): Picked {
  return { path, file: new File([new Uint8Array(bytes)], "x", { lastModified: 5 }) };
}

/** What is kept in a test's database has no methods; so it gets them when it is found. */
function remember(permission: PermissionState, bytes: number[]): void {
  const file = new File([new Uint8Array(bytes)], "a", { lastModified: 5 });
  const handle = {
    kind: "file",
    name: "a",
    getFile: async () => file,
    queryPermission: async () => "prompt",
    requestPermission: async () => permission,
  };
  vi.spyOn(kept, "find").mockResolvedValue({
    handles: [handle as unknown as FileSystemHandle],
    files: [{ path: "a", size: 3, mtime: 5 }],
  });
}

test("files are offered with size and time, folders only if nothing is in them", async () => {
  await lending.offer(
    [{ path: "d", file: null }, picked("d/s/a"), { path: "d/s", file: null }, { path: "d/e", file: null }],
    "",
  );
  expect(offered).toEqual([
    {
      entries: [
        { path: "d/s/a", size: 3, mtime: 5 },
        { path: "d/e", folder: true },
      ],
      part: 0,
      parts: 1,
    },
  ]);
});

test("a long list goes out in parts, none of them large", async () => {
  const many = Array.from({ length: 10_000 }, (_, n) => picked(`folder/${n}/${"x".repeat(60)}`));
  await lending.offer(many, "");
  expect(offered.length).toBeGreaterThan(3);
  expect(offered.map(({ part, parts }) => [part, parts])).toEqual(
    offered.map((_, part) => [part, offered.length]),
  );
  expect(offered.flatMap(({ entries }) => entries)).toHaveLength(10_000);
  for (const part of offered) expect(JSON.stringify(part).length).toBeLessThan(300 * 1024);
});

test("what is offered can be read, and its digest asked for", async () => {
  await lending.offer([picked("a")], "");
  const read = await lending.serve("read", { path: "a", offset: 1, length: 2 });
  expect([...read.buffer]).toEqual([2, 3]);
  const digest = await lending.serve("digest", { path: "a", offset: 1, length: 2 });
  expect([digest.ok, digest.buffer.length]).toEqual([read.ok, 0]);
});

test.each([
  ["write", { path: "a", offset: 0, length: 1 }],
  ["read", { path: 3, offset: 0, length: 1 }],
  ["read", { path: "a", offset: -1, length: 1 }],
  ["read", { path: "a", offset: 0, length: 1.5 }],
])("what makes no sense is refused: %s %o", async (op, message) => {
  await lending.offer([picked("a")], "");
  await expect(lending.serve(op, message)).rejects.toMatchObject({ code: "unknown" });
});

test("if the kernel does not want them, what was lent before still is", async () => {
  await lending.offer([picked("a")], "");
  refusal = new Refusal("source-changed", "no");
  await expect(lending.offer([picked("b")], "t")).rejects.toBe(refusal);
  expect((await lending.serve("read", { path: "a", offset: 0, length: 3 })).buffer).toHaveLength(3);
  await expect(lending.serve("read", { path: "b", offset: 0, length: 3 })).rejects.toMatchObject({
    code: "source-away",
  });
});

test("handles are kept under the transfer that begins with them, and forgotten when it is over", async () => {
  const handle = { kind: "file", name: "a" } as FileSystemHandle;
  await lending.offer([{ ...picked("a"), handle }], "");
  await lending.began("t1");
  await lending.began("t2"); // of something else
  expect((await kept.find("t1"))?.files).toEqual([{ path: "a", size: 3, mtime: 5 }]);
  expect(await kept.find("t2")).toBeNull();
  await lending.over("t1");
  expect(await kept.find("t1")).toBeNull();
  await expect(lending.serve("read", { path: "a", offset: 0, length: 3 })).rejects.toMatchObject({
    code: "source-away",
  });
});

test("the same files are lent once more for the same transfer only", async () => {
  await lending.offer([picked("a")], "");
  await lending.began("t1");
  await lending.offerSame("t2");
  expect(offered).toHaveLength(1);
  await lending.offerSame("t1");
  expect(offered[1]).toEqual(offered[0]);
});

test("after a reload they are lent with one click, if the browser may", async () => {
  remember("granted", [1, 2, 3]);
  expect(lending.remembers("t1")).toBe(false);
  expect(await lending.needed("t1")).toBe(true);
  expect(await lending.needed("t1")).toBe(false); // nothing new
  expect(lending.remembers("t1")).toBe(true);
  await lending.again("t1");
  expect(offered).toEqual([{ entries: [{ path: "a", size: 3, mtime: 5 }], part: 0, parts: 1 }]);
  await expect(lending.again("t2")).rejects.toMatchObject({ code: "nothing" });
});

test("they are not lent if the browser may not, or if they are others by now", async () => {
  remember("denied", [1, 2, 3]);
  await lending.needed("t1");
  await expect(lending.again("t1")).rejects.toMatchObject({ code: "denied" });
  lending = fresh();
  remember("granted", [1, 2]);
  await lending.needed("t1");
  await expect(lending.again("t1")).rejects.toMatchObject({ code: "source-changed" });
  expect(offered).toEqual([]);
});
