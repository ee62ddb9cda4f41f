// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { fromHandles } from "../../src/files";
import { Refusal } from "../../src/types";
import { Drawn, FakeFerry, settled, viewOf } from "./fake";

let ferry: FakeFerry;
let card: Drawn;

beforeEach(() => {
  ferry = new FakeFerry(viewOf(null, { kind: "upload" }));
  card = new Drawn(ferry);
});

afterEach(() => {
  card.close();
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

const file = (name: string) => new File(["x"], name);

function fileHandle(name: string): FileSystemHandle {
  return { kind: "file", name, getFile: async () => file(name) } as unknown as FileSystemHandle;
}

function folderHandle(name: string, children: FileSystemHandle[]): FileSystemHandle {
  async function* values() {
    yield* children;
  }
  return { kind: "directory", name, values } as unknown as FileSystemHandle;
}

function fileEntry(name: string): FileSystemEntry {
  const opened = (done: (one: File) => void) => done(file(name));
  return { isFile: true, name, file: opened } as unknown as FileSystemEntry;
}

/** A folder as a drop has it: its reader gives two at a time. */
function folderEntry(name: string, children: FileSystemEntry[]): FileSystemEntry {
  const createReader = () => {
    const left = [...children];
    return { readEntries: (done: (some: FileSystemEntry[]) => void) => done(left.splice(0, 2)) };
  };
  return { isFile: false, name, createReader } as unknown as FileSystemEntry;
}

interface Item {
  kind: string;
  getAsFile: () => File | null;
  webkitGetAsEntry?: () => FileSystemEntry | null;
  getAsFileSystemHandle?: () => Promise<FileSystemHandle | null>;
}

const plain = (name: string): Item => ({ kind: "file", getAsFile: () => file(name) });

function transferred(type: string, field: string, items: Item[]): Event {
  const event = new Event(type, { bubbles: true, cancelable: true });
  const data = { items, files: items.map((item) => item.getAsFile()), types: ["Files"], dropEffect: "none" };
  return Object.assign(event, { [field]: data });
}

async function drop(...items: Item[]): Promise<Event> {
  const event = transferred("drop", "dataTransfer", items);
  card.root.dispatchEvent(event);
  for (let turn = 0; turn < 5; turn += 1) await settled();
  return event;
}

function fill(selector: string, files: File[]): void {
  const input = card.one(card.root, selector) as HTMLInputElement;
  Object.defineProperty(input, "files", { value: files, configurable: true });
  input.dispatchEvent(new Event("change"));
}

describe("a file field", () => {
  it("offers what was chosen", async () => {
    fill("input[type=file]", [file("a.csv"), file("b.csv")]);
    await settled();
    expect(ferry.told).toEqual(["offer a.csv b.csv"]);
  });

  it("of a folder keeps the paths in it", async () => {
    const inside = Object.defineProperty(file("a.csv"), "webkitRelativePath", { value: "data/a.csv" });
    fill("input[webkitdirectory]", [inside]);
    await settled();
    expect(ferry.told).toEqual(["offer data/a.csv"]);
  });

  it("without a choice says so", async () => {
    fill("input[type=file]", []);
    await settled();
    expect(ferry.told).toEqual([]);
    expect(card.role("alert").textContent).toContain("No file was found.");
  });

  it("is opened by the button where there is no other dialog", () => {
    const click = vi.spyOn(card.one(card.root, "input[type=file]"), "click");
    card.click("Choose files");
    return settled().then(() => expect(click).toHaveBeenCalledOnce());
  });

  it("is opened where the other dialog is forbidden", async () => {
    vi.stubGlobal("showOpenFilePicker", async () => Promise.reject(new DOMException("no", "SecurityError")));
    const click = vi.spyOn(card.one(card.root, "input[type=file]"), "click");
    card.click("Choose files");
    await settled();
    expect(click).toHaveBeenCalledOnce();
  });
});

describe("a dialog with handles", () => {
  it("lends files that outlive a reload", async () => {
    const handle = fileHandle("a.csv");
    vi.stubGlobal("showOpenFilePicker", async () => [handle]);
    card.click("Choose files");
    await settled();
    expect(ferry.offered[0]?.handle).toBe(handle);
  });

  it("that is dismissed does nothing", async () => {
    vi.stubGlobal("showOpenFilePicker", async () => Promise.reject(new DOMException("no", "AbortError")));
    const click = vi.spyOn(card.one(card.root, "input[type=file]"), "click");
    card.click("Choose files");
    await settled();
    expect([ferry.told, click.mock.calls.length]).toEqual([[], 0]);
  });

  it("walks a folder", async () => {
    const folder = folderHandle("data", [fileHandle("a.csv"), folderHandle("empty", [])]);
    vi.stubGlobal("showDirectoryPicker", async () => folder);
    card.click("Choose a folder");
    for (let turn = 0; turn < 5; turn += 1) await settled();
    expect(ferry.told).toEqual(["offer data data/a.csv data/empty"]);
    expect(ferry.offered.map((one) => one.file?.name ?? null)).toEqual([null, "a.csv", null]);
  });

  it("tells how many files there are so far", async () => {
    const counts: number[] = [];
    const folder = folderHandle(
      "data",
      Array.from({ length: 70 }, (_, at) => fileHandle(`f${at}`)),
    );
    await fromHandles([folder], (count) => counts.push(count));
    expect(counts.at(-1)).toBe(70);
  });
});

describe("a drop", () => {
  it("of plain files offers them", async () => {
    const event = await drop(plain("a.csv"));
    expect(ferry.told).toEqual(["offer a.csv"]);
    expect(event.defaultPrevented).toBe(true);
  });

  it("of a folder walks it to the end", async () => {
    const folder = folderEntry("data", [
      fileEntry("a"),
      fileEntry("b"),
      folderEntry("deep", [fileEntry("c")]),
      folderEntry("empty", []),
    ]);
    await drop({ ...plain("data"), webkitGetAsEntry: () => folder });
    expect(ferry.offered.map(({ path }) => path).sort()).toEqual([
      "data",
      "data/a",
      "data/b",
      "data/deep/c",
      "data/empty",
    ]);
  });

  it("lends handles where the browser has them", async () => {
    const handle = fileHandle("a.csv");
    await drop({ ...plain("a.csv"), getAsFileSystemHandle: async () => handle });
    expect(ferry.offered[0]?.handle).toBe(handle);
  });

  it("does without handles where they are refused", async () => {
    await drop({ ...plain("a.csv"), getAsFileSystemHandle: async () => Promise.reject(new Error("no")) });
    expect(ferry.offered[0]?.file?.name).toBe("a.csv");
  });

  it("is left to the page when no files are wanted", async () => {
    ferry.show(viewOf({ role: "upload" }, { kind: "upload" }));
    const event = await drop(plain("a.csv"));
    expect([ferry.told, event.defaultPrevented]).toEqual([[], false]);
  });

  it("lends the same files again when they are needed", async () => {
    ferry.show(viewOf({ role: "upload", state: "paused", needs_files: true }, { kind: "upload" }));
    await drop(plain("a.csv"));
    expect(ferry.told).toEqual(["offer a.csv"]);
  });

  it("that is refused says why", async () => {
    ferry.answer = Promise.reject(
      new Refusal("source-changed", "a.csv is another file.", "Choose the same."),
    );
    await drop(plain("a.csv"));
    expect(card.role("alert").textContent).toContain("a.csv is another file. Choose the same.");
  });

  it("is shown to be possible while it is over the card", () => {
    card.root.dispatchEvent(transferred("dragenter", "dataTransfer", [plain("a")]));
    expect(card.root.classList.contains("nf-over")).toBe(true);
    card.root.dispatchEvent(transferred("dragleave", "dataTransfer", [plain("a")]));
    expect(card.root.classList.contains("nf-over")).toBe(false);
  });
});

describe("a paste", () => {
  it("of files offers them", async () => {
    card.root.dispatchEvent(transferred("paste", "clipboardData", [plain("image.png")]));
    for (let turn = 0; turn < 5; turn += 1) await settled();
    expect(ferry.told).toEqual(["offer image.png"]);
  });

  it("of text is the page's", () => {
    const event = transferred("paste", "clipboardData", []);
    card.root.dispatchEvent(event);
    expect(event.defaultPrevented).toBe(false);
  });
});

describe("while a folder is read", () => {
  it("it counts, and does not say that a cell is in the way", async () => {
    vi.useFakeTimers();
    ferry.reach = { by: "comm" };
    const slow = { ...fileHandle("slow"), getFile: () => new Promise<File>(() => {}) } as FileSystemHandle;
    vi.stubGlobal("showDirectoryPicker", async () => folderHandle("data", [fileHandle("a"), slow]));
    card.click("Choose a folder");
    await vi.advanceTimersByTimeAsync(5000);
    expect(card.text).toContain("1 file found…");
    expect(card.text).not.toContain("This takes effect");
    vi.useRealTimers();
  });
});
