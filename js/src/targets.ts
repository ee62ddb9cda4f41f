/** Where files of the kernel are saved on this machine: a chosen file or folder, or memory. */

import { freeName } from "./files";
import type { Bytes } from "./frames";
import type { KernelFile, Target } from "./pull";

/** One file that a person chose. It gets its new content at the end, at once. */
export class FileTarget implements Target {
  private out: FileSystemWritableFileStream | null = null;

  constructor(private readonly handle: FileSystemFileHandle) {}

  async begin(): Promise<void> {
    this.out = await this.handle.createWritable();
  }

  async write(bytes: Bytes): Promise<void> {
    await this.out?.write(bytes);
  }

  async end(): Promise<void> {
    await this.out?.close();
  }

  async abort(): Promise<void> {
    // It may have failed before.
    await this.out?.abort().catch(ignore);
    const left = await this.handle.getFile().catch(ignore);
    // The dialog created the file.
    if (left?.size === 0) await this.handle.remove?.().catch(ignore);
  }
}

/** A folder that a person chose; no file in it is replaced. */
export class FolderTarget implements Target {
  private readonly places: Promise<Places>;
  private current: { target: FileTarget; folder: FileSystemDirectoryHandle; name: string } | null = null;

  constructor(private readonly root: FileSystemDirectoryHandle) {
    this.places = Places.in(root);
    // Callers that wait for it get the error.
    this.places.catch(ignore);
  }

  async begin({ path }: KernelFile): Promise<void> {
    const parts = (await this.places).of(path).split("/");
    const name = parts.pop() ?? "file";
    let folder = this.root;
    for (const part of parts) folder = await folder.getDirectoryHandle(part, { create: true });
    const handle = await fileIn(folder, name);
    const target = new FileTarget(handle);
    this.current = { target, folder, name: handle.name };
    await target.begin();
  }

  async write(bytes: Bytes): Promise<void> {
    await this.current?.target.write(bytes);
  }

  async end(): Promise<void> {
    await this.current?.target.end();
    this.current = null;
  }

  async abort(): Promise<void> {
    if (!this.current) return;
    const { target, folder, name } = this.current;
    await target.abort();
    // Browsers with removable handles have removed it already.
    await folder.removeEntry(name).catch(ignore);
  }
}

/** A new file. Names that a browser considers dangerous, such as links, get another ending. */
async function fileIn(folder: FileSystemDirectoryHandle, name: string): Promise<FileSystemFileHandle> {
  try {
    return await folder.getFileHandle(name, { create: true });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return folder.getFileHandle(`${name}_`, { create: true });
  }
}

/** The path of a file in a folder: its own, if allowed and free. */
class Places {
  private readonly tops = new Map<string, string>();
  private readonly used = new Set<string>();

  private constructor(private readonly there: Set<string>) {}

  static async in(folder: FileSystemDirectoryHandle): Promise<Places> {
    const there = new Set<string>();
    // Many systems ignore case.
    for await (const name of folder.keys()) there.add(name.toLowerCase());
    return new Places(there);
  }

  of(path: string): string {
    const [top = "", ...below] = path.split("/").map(allowedName);
    const wanted = [this.top(top), ...below].join("/");
    const place = freeName(wanted, (each) => this.used.has(each.toLowerCase()));
    this.used.add(place.toLowerCase());
    return place;
  }

  private top(wanted: string): string {
    const name = this.tops.get(wanted) ?? freeName(wanted, (each) => this.there.has(each.toLowerCase()));
    this.tops.set(wanted, name);
    return name;
  }
}

/** Memory, which the browser's own download then saves. */
export class MemoryTarget implements Target {
  private parts: Bytes[] = [];
  private name = "file";

  constructor(private readonly download: (url: string, name: string) => void) {}

  async begin({ path }: KernelFile): Promise<void> {
    this.parts = [];
    this.name = lastName(path);
  }

  async write(bytes: Bytes): Promise<void> {
    this.parts.push(bytes);
  }

  async end(): Promise<void> {
    const url = URL.createObjectURL(new Blob(this.parts));
    this.parts = [];
    this.download(url, this.name);
    // Browsers do not report when they have read it.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  async abort(): Promise<void> {
    this.parts = [];
  }
}

export function lastName(path: string): string {
  return allowedName(path.slice(path.lastIndexOf("/") + 1));
}

/** A name that every system accepts: forbidden characters become "_". */
export function allowedName(name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const plain = name.replace(/[\u0000-\u001f\u007f<>:"/\\|?*]/g, "_").replace(/[. ]+$/, "_");
  const reserved = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i.test(plain);
  return plain === "" ? "_" : reserved ? `_${plain}` : plain;
}

/** Ignored, because a failed cleanup must not hide the first error. */
function ignore(): undefined {}
