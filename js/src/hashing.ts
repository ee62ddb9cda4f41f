/** Reads slices and hashes them: in the worker, or where there can be none, in the page itself. */

import { createBLAKE3, type IHasher } from "hash-wasm";
import type { Bytes } from "./frames";

export type Job =
  | { do: "read"; file: Blob; start: number; end: number; into: ArrayBuffer | null } // the bytes and their digest
  | { do: "hash"; bytes: ArrayBuffer }; // the digest of what is at hand

export interface Done {
  digest: string;
  /** What was read, or was at hand; in what it was read into there may be room behind it. */
  bytes: ArrayBuffer;
  length: number;
}

/** What went wrong, as it passes between threads. */
export interface Failed {
  name: string;
  message: string;
}

let hasher: Promise<IHasher> | null = null;

/** Make ready, and see whether WebAssembly is allowed here. */
export async function prepare(): Promise<void> {
  hasher ??= createBLAKE3();
  await hasher;
}

export async function perform(job: Job): Promise<Done> {
  const bytes = job.do === "hash" ? new Uint8Array(job.bytes) : await read(job);
  return { digest: await hash(bytes), bytes: bytes.buffer, length: bytes.byteLength };
}

/** Whether this browser can read into memory that is there: what it allots for each slice it gives back late. */
export const READS_INTO = (() => {
  try {
    void new Blob([]).stream().getReader({ mode: "byob" }).cancel();
    return true;
  } catch {
    return false;
  }
})();

async function read({ file, start, end, into }: Job & { do: "read" }): Promise<Bytes> {
  const slice = file.slice(start, end);
  return into ? readInto(slice, into) : new Uint8Array(await slice.arrayBuffer());
}

/** The memory goes with each read and comes back with its outcome. */
async function readInto(slice: Blob, memory: ArrayBuffer): Promise<Bytes> {
  const reader = slice.stream().getReader({ mode: "byob" });
  let buffer = memory;
  let at = 0;
  while (at < slice.size) {
    const { done, value } = await reader.read(new Uint8Array(buffer, at, slice.size - at));
    if (value) buffer = value.buffer;
    if (done) break;
    at += value.byteLength;
  }
  void reader.cancel();
  return new Uint8Array(buffer, 0, at);
}

/** BLAKE3 in hex. There is one state, so nothing may come between its beginning and its end. */
async function hash(bytes: Bytes): Promise<string> {
  hasher ??= createBLAKE3();
  return (await hasher).init().update(bytes).digest("hex");
}

export function failure(error: unknown): Failed {
  return error instanceof Error || error instanceof DOMException
    ? { name: error.name, message: error.message }
    : { name: "Error", message: String(error) };
}
