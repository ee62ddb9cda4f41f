import { describe, expect, test, vi } from "vitest";
import { freeName, fromDrop, fromHandles, fromList } from "../src/files";
import { handle, TestFile, TestFolder } from "./handles";

function entry(tree: TestFile | TestFolder): FileSystemEntry {
  const isFile = tree instanceof TestFile;
  return {
    name: tree.name,
    isFile,
    isDirectory: !isFile,
    file: (found: (file: File) => void, failed: (error: unknown) => void) =>
      isFile && tree.getFile().then(found, failed),
    createReader: () => {
      const left = isFile ? [] : [...tree.children.values()].map(entry);
      return { readEntries: (found: (some: FileSystemEntry[]) => void) => found(left.splice(0, 2)) }; // in portions
    },
  } as unknown as FileSystemEntry;
}

function dropped(...items: Partial<DataTransferItem>[]): DataTransfer {
  const all = items.map((item) => ({ kind: "file", getAsFile: () => null, ...item }));
  return { items: all } as unknown as DataTransfer;
}

const TREE = new TestFolder(
  "data",
  new TestFile("a.csv", new Uint8Array(3)),
  new TestFile("b.csv"),
  new TestFile("c.csv"),
  new TestFolder("empty"),
  new TestFolder("in", new TestFolder("deep", new TestFile("d.csv"))),
);

const PATHS = ["data/a.csv", "data/b.csv", "data/c.csv", "data/empty/", "data/in/deep/d.csv", "data/"].sort();

async function paths(gathering: ReturnType<typeof fromHandles>): Promise<string[]> {
  return (await gathering).map(({ path, file }) => (file ? path : `${path}/`)).sort();
}

const ignore = () => undefined;

test("files of a field have the path in the folder that was chosen", () => {
  const inside = new File([], "b");
  Object.defineProperty(inside, "webkitRelativePath", { value: "d/b" });
  expect(fromList([new File([], "a"), inside]).map(({ path }) => path)).toEqual(["a", "d/b"]);
});

describe("a folder that is dropped comes with everything below it, empty folders too", () => {
  test("as handles, which are kept with the files", async () => {
    const found = vi.fn();
    const asHandle = { getAsFileSystemHandle: async () => handle(TREE) };
    const picked = await fromDrop(dropped(asHandle))(found);
    expect(await paths(Promise.resolve(picked))).toEqual(PATHS);
    expect(found).toHaveBeenLastCalledWith(4);
    expect(picked.find(({ path }) => path === "data")?.handle).toBe(TREE);
  });

  test("as entries, which a browser hands out in portions", async () => {
    const asEntry = { webkitGetAsEntry: () => entry(TREE) };
    expect(await paths(fromDrop(dropped(asEntry))(ignore))).toEqual(PATHS);
  });

  test("as entries also where handles are refused", async () => {
    const both = {
      getAsFileSystemHandle: () => Promise.reject(new DOMException("no", "SecurityError")),
      webkitGetAsEntry: () => entry(TREE),
    };
    expect(await paths(fromDrop(dropped(both))(ignore))).toEqual(PATHS);
  });
});

test("a browser is asked for everything in the event itself", () => {
  const item = {
    getAsFileSystemHandle: vi.fn(async () => null),
    webkitGetAsEntry: vi.fn(() => null),
    getAsFile: vi.fn(() => null),
  };
  fromDrop(dropped(item, { ...item, kind: "string" } as Partial<DataTransferItem>));
  for (const ask of Object.values(item)) expect(ask).toHaveBeenCalledOnce();
});

test("what was pasted has neither handle nor entry, and is read as a file", async () => {
  const file = new File([new Uint8Array(2)], "image.png");
  expect(await fromDrop(dropped({ getAsFile: () => file }))(ignore)).toEqual([{ path: "image.png", file }]);
});

test("what cannot be read is named, not left out", async () => {
  const bad = (name: string) => new TestFile(name, null);
  const tree = new TestFolder(
    "d",
    bad("1"),
    bad("2"),
    new TestFile("good"),
    new TestFolder("s", bad("3"), bad("4")),
  );
  const refused = {
    code: "unreadable",
    message: 'The browser cannot read "d/1", "d/2", "d/s/3" and 1 more.',
  };
  await expect(fromHandles([handle(tree)], ignore)).rejects.toMatchObject(refused);
  await expect(fromDrop(dropped({ webkitGetAsEntry: () => entry(tree) }))(ignore)).rejects.toMatchObject(
    refused,
  );
  const folder = new File([], "folder");
  vi.spyOn(folder, "slice").mockImplementation(() => {
    throw new DOMException("no", "NotReadableError");
  });
  await expect(fromDrop(dropped({ getAsFile: () => folder }))(ignore)).rejects.toMatchObject({
    code: "unreadable",
  });
});

test("two of one name are both there, the second with a number", () => {
  const picked = fromList([new File([], "a.csv"), new File([], "a.csv"), new File([], "a (2).csv")]);
  expect(picked.map(({ path }) => path)).toEqual(["a.csv", "a (2).csv", "a (2) (2).csv"]);
});

test.each([
  ["d.x/a.tar.gz", "d.x/a.tar (2).gz"],
  ["d.x/a", "d.x/a (2)"],
  [".profile", ".profile (2)"],
])("a number goes before the ending: %s", (path, free) => {
  expect(freeName(path, (each) => each === path)).toBe(free);
});
