import { expect, test, vi } from "vitest";
import { perform } from "../src/hashing";
import type { Fetch, KernelFile, Means } from "../src/pull";
import { type Browser, save } from "../src/save";
import type { Server } from "../src/server";
import { allowedName } from "../src/targets";
import { settle, TestClock } from "./clock";
import { handle, TestFile, TestFolder } from "./handles";

const MIB = 1024 * 1024;

function content(file: number, offset: number, length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(length).map((_, n) => (file * 7 + offset + n) % 253);
}

const honest: Fetch = async (file, offset, length) => {
  const bytes = content(file, offset, length);
  const { digest } = await perform({ do: "hash", bytes: bytes.buffer.slice(0) });
  return { digest, bytes };
};

function file(path: string, size: number, url = ""): KernelFile {
  return { path, size, url };
}

function browser(over: Partial<Browser> = {}): Browser {
  return { clicked: () => true, download: () => undefined, ...over };
}

function rig(fetch: Fetch = honest) {
  const clock = new TestClock();
  const means: Means = { fetch, perform, clock };
  const ending = new AbortController();
  const progress = vi.fn();
  const run = (files: KernelFile[], over: Partial<Browser>, server: Server | null = null) =>
    save(files, browser(over), server, means, progress, ending.signal);
  return { clock, ending, progress, run };
}

function picker(chosen: TestFile) {
  return vi.fn(async () => handle<FileSystemFileHandle>(chosen));
}

function folderPicker(chosen: TestFolder) {
  return vi.fn(async () => handle<FileSystemDirectoryHandle>(chosen));
}

const SERVER: Server = { base: "https://hub/u/ada/", sockets: "wss://hub/u/ada/", token: "" };

test("one file goes where a person wants it, whole, with its progress", async () => {
  const chosen = new TestFile("x");
  const { run, progress } = rig();
  const showSaveFilePicker = picker(chosen);
  const size = 2 * MIB + 5;
  expect(await run([file("a.bin", size)], { showSaveFilePicker })).toBe("saved");
  expect(showSaveFilePicker).toHaveBeenCalledWith({ suggestedName: "a.bin" });
  const whole = [0, MIB, 2 * MIB].flatMap((at) => [...content(0, at, Math.min(MIB, size - at))]);
  expect(Buffer.compare(Buffer.from(chosen.content ?? []), Buffer.from(whole))).toBe(0);
  expect(progress.mock.calls).toEqual([
    [MIB, size],
    [2 * MIB, size],
    [size, size],
  ]);
});

test("several go into a folder that a person chooses, empty ones too; what is there is not replaced", async () => {
  const chosen = new TestFolder(
    "home",
    new TestFolder("D", new TestFile("old", new Uint8Array(9))),
    new TestFile("b.txt", new Uint8Array(1)),
  );
  const { run } = rig();
  const files = [file("d/x", MIB + 1), file("d/s/empty", 0), file("d/s/Empty", 2), file("b.txt", 3)];
  expect(
    await run(files, {
      showDirectoryPicker: folderPicker(chosen),
      showSaveFilePicker: picker(new TestFile("")),
    }),
  ).toBe("saved");
  expect(chosen.sizes()).toEqual({
    "D/old": 9,
    "b.txt": 1,
    "d (2)/x": MIB + 1,
    "d (2)/s/empty": 0,
    "d (2)/s/Empty (2)": 2,
    "b (2).txt": 3,
  });
});

test("a damaged slice is asked for again, and is written right", async () => {
  let bad = 2;
  const { run, clock } = rig(async (...asked) => {
    const slice = await honest(...asked);
    return bad-- > 0 ? { ...slice, bytes: slice.bytes.map((byte) => byte ^ 1) } : slice;
  });
  const chosen = new TestFile("x");
  const saving = run([file("a", 10)], { showSaveFilePicker: picker(chosen) });
  await clock.pass(5000);
  expect(await saving).toBe("saved");
  expect([...(chosen.content ?? [])]).toEqual([...content(0, 0, 10)]);
});

test.each<[string, Fetch, object]>([
  [
    "damaged three times",
    async (...asked) => ({ ...(await honest(...asked)), digest: "0" }),
    { code: "damaged" },
  ],
  [
    "shorter than it should be",
    async (f, o, n) => honest(f, o, n - 1, new AbortController().signal),
    { code: "damaged" },
  ],
  ["refused three times", () => Promise.reject(new Error("gone")), { message: "gone" }],
])("what is %s is an error, and what was written of the file is thrown away", async (_, fetch, error) => {
  const asked = vi.fn(fetch);
  const { run, clock } = rig(asked);
  const folder = new TestFolder("home");
  const failed = expect(
    run([file("d/a", 10)], { showDirectoryPicker: folderPicker(folder) }),
  ).rejects.toMatchObject(error);
  await clock.pass(5000);
  await failed;
  expect(asked).toHaveBeenCalledTimes(3);
  expect(folder.sizes()).toEqual({});
  expect(clock.pending).toBe(0);
});

test("between 4 and 8 slices are asked for at a time", async () => {
  const waiting: (() => void)[] = [];
  const { run } = rig(async (...asked) => {
    await new Promise<void>((go) => waiting.push(go));
    return honest(...asked);
  });
  const saving = run(
    Array.from({ length: 60 }, (_, n) => file(`d/${n}`, 1)),
    { showDirectoryPicker: folderPicker(new TestFolder("home")) },
  );
  const counts: number[] = [];
  for (let round = 0; round < 5; round++) {
    await vi.waitFor(() => expect(waiting.length).toBeGreaterThan(0));
    await settle();
    counts.push(waiting.length);
    for (const go of waiting.splice(0)) go();
    await settle();
  }
  expect(counts.slice(0, 3)).toEqual([4, 8, 8]);
  expect(Math.max(...counts)).toBe(8);
  while (waiting.length > 0) {
    for (const go of waiting.splice(0)) go();
    await settle();
  }
  expect(await saving).toBe("saved");
});

test("a name that a browser takes for dangerous gets another ending", async () => {
  const folder = new TestFolder("home");
  const make = folder.getFileHandle.bind(folder);
  folder.getFileHandle = (name) =>
    name.endsWith(".url") ? Promise.reject(new TypeError("Name is not allowed.")) : make(name);
  const files = [file("a.url", 1), file("b", 2)];
  expect(await rig().run(files, { showDirectoryPicker: folderPicker(folder) })).toBe("saved");
  expect(folder.sizes()).toEqual({ "a.url_": 1, b: 2 });
});

test("it can be ended at any time, and says why", async () => {
  const { run, ending } = rig(
    (_file, _offset, _length, signal) =>
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
  );
  const folder = new TestFolder("home");
  const saving = run([file("d/a", 10)], { showDirectoryPicker: folderPicker(folder) });
  await settle();
  ending.abort(new Error("enough"));
  await expect(saving).rejects.toThrow("enough");
  expect(folder.sizes()).toEqual({});
});

test("a disk that is full is said in words", async () => {
  const chosen = new TestFile("x");
  chosen.createWritable = async () => ({
    write: () => Promise.reject(new DOMException("full", "QuotaExceededError")),
    abort: async () => undefined,
  });
  await expect(rig().run([file("a", 3)], { showSaveFilePicker: picker(chosen) })).rejects.toMatchObject({
    code: "disk",
  });
});

test("a dialog that is closed saves nothing", async () => {
  const { run } = rig();
  const showSaveFilePicker = () => Promise.reject(new DOMException("no", "AbortError"));
  expect(await run([file("a", 1)], { showSaveFilePicker })).toBe("dismissed");
});

test("a click that is too long ago is asked for again", async () => {
  const { run } = rig();
  const showSaveFilePicker = () => Promise.reject(new DOMException("no", "SecurityError"));
  await expect(run([file("a", 1)], { showSaveFilePicker, clicked: () => false })).rejects.toMatchObject({
    code: "click",
  });
});

test("without a dialog the server's own download is used", async () => {
  vi.stubGlobal("document", { cookie: "_xsrf=2|ab; other=1" });
  const download = vi.fn();
  expect(await rig().run([file("d/ä b", 1, "files/d/%C3%A4%20b")], { download }, SERVER)).toBe("downloading");
  expect(download).toHaveBeenCalledWith(
    "https://hub/u/ada/files/d/%C3%A4%20b?download=1&_xsrf=2%7Cab",
    "ä b",
  );
  vi.unstubAllGlobals();
});

test("where there is none, or a frame forbids the dialog, it goes through memory", async () => {
  const download = vi.fn();
  const showSaveFilePicker = () => Promise.reject(new DOMException("no", "SecurityError"));
  expect(await rig().run([file("d/a", 5)], { download, showDirectoryPicker: showSaveFilePicker }, null)).toBe(
    "downloading",
  );
  const [[url, name]] = download.mock.calls as [[string, string]];
  expect(name).toBe("a");
  expect(new Uint8Array(await (await fetch(url)).arrayBuffer())).toEqual(content(0, 0, 5));
});

test("what neither can do is refused with a reason", async () => {
  const many = Array.from({ length: 11 }, (_, n) => file(`d/${n}`, 1, "files/x"));
  await expect(rig().run(many, {}, SERVER)).rejects.toMatchObject({ code: "browser" });
  await expect(rig().run([file("a", 513 * MIB)], {}, null)).rejects.toMatchObject({ code: "browser" });
  await expect(rig().run([], {}, null)).rejects.toMatchObject({ code: "nothing" });
});

test.each([
  ["a:b?.csv", "a_b_.csv"],
  ["con.txt", "_con.txt"],
  ["..", "_"],
  ["end. ", "end_"],
  ["Größe 数据.csv", "Größe 数据.csv"],
])("a name gets what every system takes: %s", (name, allowed) => {
  expect(allowedName(name)).toBe(allowed);
});
