/** Reads slices of lent files for the kernel. */

import { Budget } from "./budget";
import { type Clock, pause } from "./clock";
import { type Bytes, NO_BYTES } from "./frames";
import type { Perform } from "./hands";
import { type Done, READS_INTO } from "./hashing";
import { type Picked, Refusal } from "./types";

// Bytes between reading and sending.
const MEMORY = 8 * 1024 * 1024;
// Milliseconds before the second and the third attempt.
const PAUSES = [100, 500];

interface Lent {
  readonly file: File;
  /** Size and time when the file was offered; some browsers update those of the file itself. */
  readonly size: number;
  readonly lastModified: number;
  wasRead: boolean;
}

export interface Slice {
  digest: string;
  bytes: Bytes;
  /** Call it when the bytes are no longer needed. */
  release(): void;
}

export class Slices {
  private lent = new Map<string, Lent>();
  private readonly budget = new Budget(MEMORY);
  // Buffers of slices that have been sent.
  private readonly spare: ArrayBuffer[] = [];

  constructor(
    private readonly perform: Perform,
    private readonly clock: Clock,
    private readonly readsInto = READS_INTO,
  ) {}

  /** Allow reading these files, and no others. */
  lend(files: readonly Picked[]): void {
    this.lent = new Map();
    for (const { path, file } of files) {
      if (!file) continue;
      this.lent.set(path, { file, size: file.size, lastModified: file.lastModified, wasRead: false });
    }
  }

  get isEmpty(): boolean {
    return this.lent.size === 0;
  }

  /** Rejects with Refusal: source-away, source-changed, storage. */
  async slice(kind: "read" | "digest", path: string, offset: number, length: number): Promise<Slice> {
    const lent = this.lent.get(path);
    if (!lent) throw new Refusal("source-away", `This page does not have the file "${path}".`);
    if (offset + length > lent.size) throw changed(path);
    const release = await this.budget.take(length);
    try {
      const done = await this.tried(lent, path, offset, length);
      if (done.length !== length) throw changed(path);
      lent.wasRead = true;
      const given = () => {
        this.keep(done.bytes);
        release();
      };
      if (kind === "read")
        return { digest: done.digest, bytes: new Uint8Array(done.bytes, 0, length), release: given };
      given();
      return { digest: done.digest, bytes: NO_BYTES, release: () => undefined };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Memory for a slice: a used buffer, if one is large enough. */
  private memory(length: number): ArrayBuffer | null {
    if (!this.readsInto || length === 0) return null;
    const at = this.spare.findIndex((buffer) => buffer.byteLength >= length);
    return this.spare.splice(at, at < 0 ? 0 : 1)[0] ?? new ArrayBuffer(length);
  }

  private keep(buffer: ArrayBuffer): void {
    const kept = this.spare.reduce((sum, each) => sum + each.byteLength, 0);
    if (this.readsInto && kept + buffer.byteLength <= MEMORY) this.spare.push(buffer);
  }

  private async tried(lent: Lent, path: string, start: number, length: number): Promise<Done> {
    for (let tries = 0; ; tries++) {
      try {
        const into = this.memory(length);
        return await this.perform({ do: "read", file: lent.file, start, end: start + length, into });
      } catch (error) {
        const wait = PAUSES[tries];
        if (isOther(lent)) throw changed(path);
        if (wait === undefined) throw refused(error, path, lent);
        await pause(this.clock, wait);
      }
    }
  }
}

function isOther({ file, size, lastModified }: Lent): boolean {
  return file.size !== size || file.lastModified !== lastModified;
}

/** A browser gives the same error for a file that changed and for one that it may not read. */
function refused(error: unknown, path: string, lent: Lent): Refusal {
  const { name, message } =
    error instanceof Error || error instanceof DOMException ? error : new Error(String(error));
  if (name === "NotReadableError" && lent.wasRead) return changed(path);
  const why = name === "NotFoundError" ? "it no longer exists" : message;
  return new Refusal(
    "storage",
    `The browser cannot read "${path}": ${why}`,
    "Check that the file still exists.",
  );
}

function changed(path: string): Refusal {
  return new Refusal(
    "source-changed",
    `"${path}" has changed since it was chosen.`,
    "Cancel, and start again with the file as it is now.",
  );
}
