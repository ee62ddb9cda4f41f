/** From what a person dropped, pasted or chose to a flat list of files; folders are walked. */

import type { Picked } from "../types";

/** Called with the number of files found so far. */
export type Found = (count: number) => void;

const AT_ONCE = 32; // files that are opened at the same time

/** What one dropped thing can be had as; which of them works depends on the browser and on the address. */
interface Dropped {
  handle: Promise<FileSystemHandle | null>;
  entry: FileSystemEntry | null;
  file: File | null;
}

type WithHandle = DataTransferItem & { getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> };
type Listed = FileSystemDirectoryHandle & { values(): AsyncIterable<FileSystemHandle> };

/** Of a file field. A folder's files know their path in it; its empty folders are not told. */
export function fromList(files: Iterable<File>): Picked[] {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** Of a drop or a paste. To be called in the event itself: afterwards the browser forgets what there was. */
export function fromDrop(data: DataTransfer): (found: Found) => Promise<Picked[]> {
  const dropped = [...data.items].filter((item) => item.kind === "file").map(inAllForms);
  return async (found) => {
    const walk = new Walk(found);
    for (const one of dropped) await walk.dropped(one);
    return walk.picked;
  };
}

export async function fromHandles(handles: Iterable<FileSystemHandle>, found: Found): Promise<Picked[]> {
  const walk = new Walk(found);
  for (const handle of handles) await walk.handle(handle, "");
  return walk.picked;
}

function inAllForms(item: DataTransferItem): Dropped {
  const asked = (item as WithHandle).getAsFileSystemHandle?.().catch(() => null);
  return {
    handle: asked ?? Promise.resolve(null),
    entry: item.webkitGetAsEntry?.() ?? null,
    file: item.getAsFile(),
  };
}

class Walk {
  readonly picked: Picked[] = [];
  private files = 0;

  constructor(private readonly found: Found) {}

  async dropped(one: Dropped): Promise<void> {
    const handle = await one.handle;
    if (handle) await this.handle(handle, "");
    else if (one.entry) await this.entry(one.entry, "");
    else if (one.file) this.add({ path: one.file.name, file: one.file });
  }

  async handle(handle: FileSystemHandle, above: string): Promise<void> {
    const path = above + handle.name;
    if (handle.kind === "file") {
      this.add({ path, file: await (handle as FileSystemFileHandle).getFile(), handle });
      return;
    }
    const children: FileSystemHandle[] = [];
    for await (const child of (handle as Listed).values()) children.push(child);
    if (children.length === 0 || above === "") this.picked.push({ path, file: null, handle });
    await inGroups(children, (child) => this.handle(child, `${path}/`));
  }

  async entry(entry: FileSystemEntry, above: string): Promise<void> {
    const path = above + entry.name;
    if (entry.isFile) {
      this.add({ path, file: await opened(entry as FileSystemFileEntry) });
      return;
    }
    const children = await listed(entry as FileSystemDirectoryEntry);
    if (children.length === 0 || above === "") this.picked.push({ path, file: null });
    await inGroups(children, (child) => this.entry(child, `${path}/`));
  }

  private add(picked: Picked): void {
    this.picked.push(picked);
    this.files += 1;
    this.found(this.files);
  }
}

async function inGroups<T>(all: T[], work: (one: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < all.length; at += AT_ONCE) await Promise.all(all.slice(at, at + AT_ONCE).map(work));
}

function opened(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

/** All of a folder: a reader gives a hundred at a time, and none at the end. */
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
