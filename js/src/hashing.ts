/** Reads slices and hashes them: in the worker, or where there can be none, in the page itself. */

import { createBLAKE3, type IHasher } from "hash-wasm";

export type Job =
  | { do: "read"; file: Blob; start: number; end: number } // the bytes and their digest
  | { do: "digest"; file: Blob; start: number; end: number } // the digest alone
  | { do: "hash"; bytes: ArrayBuffer }; // the digest of what is at hand

export interface Done {
  digest: string;
  /** What was read, or was at hand. */
  bytes: ArrayBuffer | null;
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
  if (job.do === "hash")
    return { digest: await hash(job.bytes), bytes: job.bytes, length: job.bytes.byteLength };
  const bytes = await job.file.slice(job.start, job.end).arrayBuffer();
  const digest = await hash(bytes);
  return { digest, bytes: job.do === "read" ? bytes : null, length: bytes.byteLength };
}

/** BLAKE3 in hex. There is one state, so nothing may come between its beginning and its end. */
async function hash(bytes: ArrayBuffer): Promise<string> {
  hasher ??= createBLAKE3();
  return (await hasher).init().update(new Uint8Array(bytes)).digest("hex");
}

export function failure(error: unknown): Failed {
  return error instanceof Error || error instanceof DOMException
    ? { name: error.name, message: error.message }
    : { name: "Error", message: String(error) };
}
