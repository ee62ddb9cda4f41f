/** Reads slices and hashes them: in the worker, or without one in the page itself. */

import { createBLAKE3, type IHasher } from "hash-wasm";
import type { Bytes } from "./frames";

export type Job =
  // Returns the bytes and their digest.
  | { do: "read"; file: Blob; start: number; end: number; into: ArrayBuffer | null }
  // Returns the digest of given bytes.
  | { do: "hash"; bytes: ArrayBuffer };

export interface Done {
  digest: string;
  /** The bytes read or given; their buffer may be larger. */
  bytes: ArrayBuffer;
  length: number;
}

/** An error, as it passes between threads. */
export interface Failed {
  name: string;
  message: string;
}

let hasher: Promise<IHasher> | null = null;

/** Prepare hashing; fails where WebAssembly is not allowed. */
export async function prepare(): Promise<void> {
  hasher ??= createBLAKE3();
  await hasher;
}

export async function perform(job: Job): Promise<Done> {
  const bytes = job.do === "hash" ? new Uint8Array(job.bytes) : await read(job);
  return { digest: await hash(bytes), bytes: bytes.buffer, length: bytes.byteLength };
}

/** Whether this browser can read into existing memory; memory allocated per slice is freed late. */
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

/** Each read takes the memory along and returns it with its result. */
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

/** BLAKE3 in hex. There is one shared state, so nothing may interrupt it. */
async function hash(bytes: Bytes): Promise<string> {
  hasher ??= createBLAKE3();
  return (await hasher).init().update(bytes).digest("hex");
}

export function failure(error: unknown): Failed {
  return error instanceof Error || error instanceof DOMException
    ? { name: error.name, message: error.message }
    : { name: "Error", message: String(error) };
}
