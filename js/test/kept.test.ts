import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { beforeEach, expect, test, vi } from "vitest";
import { KeptHandles, matches } from "../src/kept";
import type { Picked } from "../src/types";

/** Handles cannot be copied outside of a browser; to a database anything that can be copied is the same. */
function handleNamed(name: string): FileSystemHandle {
  return { kind: "file", name } as FileSystemHandle;
}

function picked(path: string, handle?: FileSystemHandle, size = 1): Picked {
  return {
    path,
    file: new File([new Uint8Array(size)], "x", { lastModified: 5 }),
    ...(handle && { handle }),
  };
}

let factory: IDBFactory;
let kept: KeptHandles;

beforeEach(() => {
  factory = new IDBFactory();
  kept = new KeptHandles(factory);
});

test("what is kept is there after a reload, with what the files were; and not after it was forgotten", async () => {
  const data = handleNamed("data");
  const all: Picked[] = [
    { path: "data", file: null, handle: data },
    picked("data/a", handleNamed("a")),
    picked("b", handleNamed("b"), 2),
  ];
  expect(await kept.keep("t1", all)).toBe(true);
  const found = await new KeptHandles(factory).find("t1");
  expect(found?.handles.map(({ name }) => name)).toEqual(["data", "b"]);
  expect(found?.files).toEqual([
    { path: "data/a", size: 1, mtime: 5 },
    { path: "b", size: 2, mtime: 5 },
  ]);
  await kept.forget("t1");
  expect(await kept.find("t1")).toBeNull();
});

test("if one file has no handle nothing is kept: a person picks them all again", async () => {
  expect(await kept.keep("t1", [picked("a", handleNamed("a")), picked("b")])).toBe(false);
  expect(await kept.find("t1")).toBeNull();
});

test("where there is no database nothing is kept, and nothing fails", async () => {
  const none = new KeptHandles(null);
  expect(await none.keep("t1", [picked("a", handleNamed("a"))])).toBe(false);
  expect(await none.find("t1")).toBeNull();
  await none.forget("t1");
});

test("what nobody came back for is dropped after a week", async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: 0 });
  await kept.keep("old", [picked("a", handleNamed("a"))]);
  vi.setSystemTime(6 * 24 * 3600 * 1000);
  await kept.keep("new", [picked("a", handleNamed("a"))]);
  vi.setSystemTime(8 * 24 * 3600 * 1000);
  const later = new KeptHandles(factory);
  expect(await later.find("new")).not.toBeNull();
  await vi.waitFor(async () => expect(await later.find("old")).toBeNull());
  vi.useRealTimers();
});

test("matches says what is missing and what is different", () => {
  const offered = [
    { path: "a", size: 1, mtime: 5 },
    { path: "b", size: 1, mtime: 5 },
    { path: "c", size: 1, mtime: 6 },
    { path: "d", size: 1, mtime: 5 },
  ];
  expect(matches(offered, [picked("a"), picked("b", undefined, 2), picked("c")])).toEqual({
    missing: ["d"],
    different: ["b", "c"],
  });
});
