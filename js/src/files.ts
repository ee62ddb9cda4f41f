/** What a person picked, dropped or pasted, as a flat list that includes the contents of folders. Unreadable files are reported, not left out. */

import { type Picked, Refusal } from "./types";

/** Called with the number of files found so far. */
export type Found = (count: number) => void;

// Files opened at the same time.
const AT_ONCE = 32;
// Unreadable files that are named.
const NAMED = 3;

/** Files of a file field. A folder's files know their path; empty folders are missing. */
export function fromList(files: Iterable<File>): Picked[] {
  return distinct(Array.from(files, (file) => ({ path: file.webkitRelativePath || file.name, file })));
}

/** Files of a drop or a paste. Call it during the event; later the data is gone. */
export function fromDrop(data: DataTransfer): (found: Found) => Promise<Picked[]> {
  const dropped = Array.from(data.items)
    .filter((item) => item.kind === "file")
    .map(inAllForms);
  return (found) => walked(found, (walk) => inTurn(dropped, (one) => walk.dropped(one)));
}

/** All files and folders at and below handles. */
export function fromHandles(handles: Iterable<FileSystemHandle>, found: Found): Promise<Picked[]> {
  return walked(found, (walk) => inTurn([...handles], (handle) => walk.handle(handle, "")));
}

/** The forms of one dropped item; which of them works depends on the browser and on the address. */
interface Dropped {
  handle: Promise<FileSystemHandle | null>;
  entry: FileSystemEntry | null;
  file: File | null;
}

function inAllForms(item: DataTransferItem): Dropped {
  // Fails in frames and at insecure addresses.
  const asked = item.getAsFileSystemHandle?.().catch(() => null);
  return {
    handle: asked ?? Promise.resolve(null),
    entry: item.webkitGetAsEntry?.() ?? null,
    file: item.getAsFile(),
  };
}

async function walked(found: Found, go: (walk: Walk) => Promise<void>): Promise<Picked[]> {
  const walk = new Walk(found);
  await go(walk);
  if (walk.unreadable.length > 0) throw unreadable(walk.unreadable);
  return distinct(walk.picked);
}

class Walk {
  readonly picked: Picked[] = [];
  readonly unreadable: string[] = [];
  private files = 0;

  constructor(private readonly found: Found) {}

  async dropped(one: Dropped): Promise<void> {
    const handle = await one.handle;
    if (handle) await this.handle(handle, "");
    else if (one.entry) await this.entry(one.entry, "");
    else if (one.file) await this.loose(one.file);
  }

  async handle(handle: FileSystemHandle, above: string): Promise<void> {
    const path = above + handle.name;
    await this.reading(path, async () => {
      if (isFile(handle)) this.add({ path, file: await handle.getFile(), handle });
      if (!isFolder(handle)) return;
      const children: FileSystemHandle[] = [];
      for await (const child of handle.values()) children.push(child);
      if (children.length === 0 || above === "") this.picked.push({ path, file: null, handle });
      await inGroups(children, (child) => this.handle(child, `${path}/`));
    });
  }

  async entry(entry: FileSystemEntry, above: string): Promise<void> {
    const path = above + entry.name;
    await this.reading(path, async () => {
      if (entry.isFile) {
        this.add({ path, file: await opened(entry as FileSystemFileEntry) });
        return;
      }
      const children = await listed(entry as FileSystemDirectoryEntry);
      if (children.length === 0 || above === "") this.picked.push({ path, file: null });
      await inGroups(children, (child) => this.entry(child, `${path}/`));
    });
  }

  /** A bare file. In a browser without entries it may be a folder, which cannot be read. */
  private async loose(file: File): Promise<void> {
    await this.reading(file.name, async () => {
      await file.slice(0, 1).arrayBuffer();
      this.add({ path: file.name, file });
    });
  }

  private async reading(path: string, look: () => Promise<void>): Promise<void> {
    try {
      await look();
    } catch {
      this.unreadable.push(path);
    }
  }

  private add(picked: Picked): void {
    this.picked.push(picked);
    this.files += 1;
    this.found(this.files);
  }
}

function unreadable(paths: string[]): Refusal {
  const named = paths.slice(0, NAMED).map((path) => `"${path}"`);
  const more = paths.length > NAMED ? ` and ${paths.length - NAMED} more` : "";
  return new Refusal(
    "unreadable",
    `The browser cannot read ${named.join(", ")}${more}.`,
    "Check that you may read them, or leave them out.",
  );
}

async function inTurn<T>(all: T[], work: (one: T) => Promise<void>): Promise<void> {
  for (const one of all) await work(one);
}

async function inGroups<T>(all: T[], work: (one: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < all.length; at += AT_ONCE) await Promise.all(all.slice(at, at + AT_ONCE).map(work));
}

function opened(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

/** List a folder completely: a reader returns a hundred entries at a time, and none at the end. */
async function listed(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (some.length === 0) return all;
    all.push(...some);
  }
}

function isFile(handle: FileSystemHandle): handle is FileSystemFileHandle {
  return handle.kind === "file";
}

function isFolder(handle: FileSystemHandle): handle is FileSystemDirectoryHandle {
  return handle.kind === "directory";
}

/** Number the second of two files with the same name from different folders. */
function distinct(picked: Picked[]): Picked[] {
  const taken = new Set<string>();
  return picked.map((each) => {
    const path = freeName(each.path, (name) => taken.has(name));
    taken.add(path);
    return path === each.path ? each : { ...each, path };
  });
}

/** "a/b.csv", or else "a/b (2).csv", or else … */
export function freeName(path: string, isTaken: (path: string) => boolean): string {
  const slash = path.lastIndexOf("/");
  const dot = path.lastIndexOf(".");
  const end = dot > slash + 1 ? dot : path.length;
  let name = path;
  for (let number = 2; isTaken(name); number++) name = `${path.slice(0, end)} (${number})${path.slice(end)}`;
  return name;
}
