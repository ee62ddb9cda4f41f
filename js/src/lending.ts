/** Lends files of this machine to the kernel: offers them, reads them on request, lends them again after a reload. */

import type { Served } from "./calls";
import { fromHandles } from "./files";
import type { Message } from "./frames";
import { type KeptHandles, type Known, matches } from "./kept";
import type { Slices } from "./slices";
import { type Picked, Refusal } from "./types";

/** Sends one part of an offer; rejects with Refusal. */
export type OfferPart = (fields: Message) => Promise<void>;

// Characters of JSON.
const PART = 256 * 1024;

export class Lending {
  /** The files lent, and their transfer; "" until it is known. */
  private lent: { picked: readonly Picked[]; transfer: string } | null = null;
  private remembered: { transfer: string; handles: FileSystemHandle[]; files: Known[] } | null = null;
  // The transfer whose remembered files were looked up.
  private asked = "";

  constructor(
    private readonly slices: Slices,
    private readonly kept: KeptHandles,
    private readonly offerPart: OfferPart,
  ) {}

  /** Whether files of an earlier visit are available for this transfer. */
  remembers(transfer: string): boolean {
    return this.remembered?.transfer === transfer;
  }

  /** Offer these files and lend them from now on. If the kernel refuses, earlier files stay lent. */
  async offer(picked: readonly Picked[], transfer: string): Promise<void> {
    const before = this.lent;
    this.slices.lend(picked);
    try {
      const parts = inParts(entriesOf(picked));
      for (const [part, entries] of parts.entries()) {
        await this.offerPart({ entries, part, parts: parts.length });
      }
    } catch (error) {
      this.slices.lend(before?.picked ?? []);
      throw error;
    }
    this.lent = { picked, transfer };
    if (transfer) await this.kept.keep(transfer, picked);
  }

  /** Note that the transfer of the offered files has begun. */
  async began(transfer: string): Promise<void> {
    if (!this.lent || this.lent.transfer) return;
    this.lent.transfer = transfer;
    await this.kept.keep(transfer, this.lent.picked);
  }

  /** Look up remembered files for a transfer; resolves to whether the answer changed. */
  async needed(transfer: string): Promise<boolean> {
    if (this.asked === transfer) return false;
    this.asked = transfer;
    const kept = await this.kept.find(transfer);
    this.remembered = kept && { transfer, ...kept };
    return kept !== null;
  }

  /** Lend the same files once more, as if the page had been away. */
  async offerSame(transfer: string): Promise<void> {
    if (this.lent?.transfer === transfer) await this.offer(this.lent.picked, transfer);
  }

  /** Lend the remembered files. Call it from a click, because the browser asks for permission. */
  async again(transfer: string): Promise<void> {
    const remembered = this.remembered;
    if (remembered?.transfer !== transfer) throw new Refusal("nothing", "This page remembers no files.");
    const allowed = await Promise.all(remembered.handles.map(isAllowed));
    if (allowed.includes(false)) {
      throw new Refusal(
        "denied",
        "The browser may not read the files.",
        "Allow it, or choose the same files again.",
      );
    }
    const picked = await fromHandles(remembered.handles, () => undefined);
    check(remembered.files, picked);
    await this.offer(picked, transfer);
  }

  /** Forget the files of a transfer that has ended. */
  async over(transfer: string): Promise<void> {
    if (this.lent && (this.lent.transfer === transfer || this.lent.transfer === "")) {
      this.lent = null;
      this.slices.lend([]);
    }
    await this.kept.forget(transfer);
  }

  // ---------------------------------------------------------------- what the kernel asks for

  async serve(op: string, { path, offset, length }: Message): Promise<Served> {
    if (op !== "read" && op !== "digest") throw new Refusal("unknown", `This page does not know "${op}".`);
    if (typeof path !== "string" || !isSize(offset) || !isSize(length)) {
      throw new Refusal("unknown", "The kernel sent an invalid request.");
    }
    const { digest, bytes, release } = await this.slices.slice(op, path, offset, length);
    return { ok: { digest }, buffer: bytes, sent: release };
  }
}

async function isAllowed(handle: FileSystemHandle): Promise<boolean> {
  const wanted = { mode: "read" } as const;
  if (!handle.queryPermission || (await handle.queryPermission(wanted)) === "granted") return true;
  return (await handle.requestPermission?.(wanted)) === "granted";
}

function check(offered: readonly Known[], picked: readonly Picked[]): void {
  const { missing, different } = matches(offered, picked);
  const [gone] = missing;
  const [other] = different;
  if (gone !== undefined) throw new Refusal("source-changed", `"${gone}" no longer exists.`);
  if (other !== undefined) throw new Refusal("source-changed", `"${other}" has changed.`);
}

/** The list for the kernel; it names only empty folders. */
function entriesOf(picked: readonly Picked[]): Message[] {
  const inside = new Set(picked.flatMap(({ path }) => foldersAbove(path)));
  return picked.flatMap(({ path, file }): Message[] => {
    if (file) return [{ path, size: file.size, mtime: file.lastModified }];
    return inside.has(path) ? [] : [{ path, folder: true }];
  });
}

function foldersAbove(path: string): string[] {
  const parts = path.split("/");
  return parts.slice(1).map((_, depth) => parts.slice(0, depth + 1).join("/"));
}

function inParts(entries: Message[]): Message[][] {
  const parts: Message[][] = [[]];
  let length = 0;
  for (const entry of entries) {
    length += JSON.stringify(entry).length;
    if (length > PART) {
      parts.push([]);
      length = 0;
    }
    parts.at(-1)?.push(entry);
  }
  return parts;
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
