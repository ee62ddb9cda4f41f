/** Pulls files of the kernel slice by slice: several requests at once, each verified, written in order. */

import { type Clock, pause } from "./clock";
import type { Bytes } from "./frames";
import type { Perform } from "./hands";
import { Refusal } from "./types";

export interface KernelFile {
  path: string;
  size: number;
  /** The server's own download, relative to its base; "" if there is none. */
  url: string;
}

/** Asks the kernel for a slice. */
export type Fetch = (
  file: number,
  offset: number,
  length: number,
  signal: AbortSignal,
) => Promise<{ digest: unknown; bytes: Bytes }>;

/** The destination of pulled files, one after the other. */
export interface Target {
  begin(file: KernelFile): Promise<void>;
  write(bytes: Bytes): Promise<void>;
  end(): Promise<void>;
  /** Discard the unfinished file. */
  abort(): Promise<void>;
}

export interface Means {
  fetch: Fetch;
  perform: Perform;
  clock: Clock;
}

const SLICE = 1024 * 1024;
// Requests at once.
const FEWEST = 4;
const MOST = 8;
// Milliseconds before the second and the third attempt.
const PAUSES = [200, 1000];

interface Piece {
  file: number;
  offset: number;
  length: number;
}

/** Rejects with Refusal or the signal's reason, and then discards the unfinished file. */
export async function pull(
  files: readonly KernelFile[],
  target: Target,
  means: Means,
  progress: (done: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const ending = new AbortController();
  const both = AbortSignal.any([signal, ending.signal]);
  const puller = new Puller(files, means, both);
  let begun = false;
  let done = 0;
  try {
    for (let next = puller.next(); next; next = puller.next()) {
      const bytes = await next.bytes;
      const file = files[next.piece.file];
      if (!file) break;
      if (next.piece.offset === 0) {
        begun = true;
        await target.begin(file);
      }
      both.throwIfAborted();
      if (bytes.length > 0) await target.write(bytes);
      done += bytes.length;
      progress(done);
      if (next.piece.offset + next.piece.length < file.size) continue;
      await target.end();
      begun = false;
    }
  } catch (error) {
    ending.abort(error);
    if (begun) await target.abort();
    throw error instanceof DOMException && !signal.aborted ? unwritable(error) : error;
  }
}

/** Keeps requests open, more of them while answers come quickly. */
class Puller {
  private readonly pieces: Iterator<Piece>;
  private readonly underWay: { piece: Piece; bytes: Promise<Bytes> }[] = [];
  private window = FEWEST;

  constructor(
    files: readonly KernelFile[],
    private readonly means: Means,
    private readonly signal: AbortSignal,
  ) {
    this.pieces = cut(files);
  }

  next(): { piece: Piece; bytes: Promise<Bytes> } | undefined {
    while (this.underWay.length < this.window) {
      const { value: piece, done } = this.pieces.next();
      if (done) break;
      const bytes = this.verified(piece);
      // The reader gets the error; slices after a failed one have no reader.
      bytes.catch(() => undefined);
      this.underWay.push({ piece, bytes });
    }
    return this.underWay.shift();
  }

  private async verified(piece: Piece): Promise<Bytes> {
    for (let tries = 0; ; tries++) {
      try {
        const bytes = await this.once(piece);
        this.window = Math.min(MOST, this.window + 1);
        return bytes;
      } catch (error) {
        const wait = PAUSES[tries];
        if (wait === undefined || this.signal.aborted) throw error;
        this.window = FEWEST;
        await pause(this.means.clock, wait, this.signal);
      }
    }
  }

  private async once({ file, offset, length }: Piece): Promise<Bytes> {
    if (length === 0) return new Uint8Array(0);
    const { digest, bytes } = await this.means.fetch(file, offset, length, this.signal);
    const own = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
    const done = await this.means.perform({ do: "hash", bytes: own });
    if (done.length !== length || done.digest !== digest || !done.bytes) throw damaged();
    return new Uint8Array(done.bytes);
  }
}

function* cut(files: readonly KernelFile[]): Generator<Piece, undefined> {
  for (const [file, { size }] of files.entries()) {
    for (let offset = 0; offset === 0 || offset < size; offset += SLICE) {
      yield { file, offset, length: Math.min(SLICE, size - offset) };
    }
  }
}

function unwritable({ message }: DOMException): Refusal {
  return new Refusal(
    "disk",
    `The browser could not write the file: ${message}`,
    "Check that the disk has free space.",
  );
}

function damaged(): Refusal {
  return new Refusal("damaged", "Data from the kernel arrived damaged several times.", "Save it again.");
}
