/** Files of this machine for the kernel: offered, read when it asks, and lent again after a reload. */

import type { Served } from "./calls";
import { fromHandles } from "./files";
import type { Message } from "./frames";
import { type KeptHandles, type Known, matches } from "./kept";
import type { Slices } from "./slices";
import { type Picked, Refusal } from "./types";

/** Sends one part of an offer; rejects with Refusal. */
export type OfferPart = (fields: Message) => Promise<void>;

const PART = 256 * 1024; // characters of JSON

export class Lending {
  /** What is lent, and for which transfer; "" until that is known. */
  private lent: { picked: readonly Picked[]; transfer: string } | null = null;
  private remembered: { transfer: string; handles: FileSystemHandle[]; files: Known[] } | null = null;
  private asked = ""; // the transfer of which it was looked up what is remembered

  constructor(
    private readonly slices: Slices,
    private readonly kept: KeptHandles,
    private readonly offerPart: OfferPart,
  ) {}

  /** Whether files of an earlier visit can be had for this transfer. */
  remembers(transfer: string): boolean {
    return this.remembered?.transfer === transfer;
  }

  /** Offer these, and lend them from now on. What was lent before stays so if the kernel says no. */
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

  /** The transfer for which files were offered has begun. */
  async began(transfer: string): Promise<void> {
    if (!this.lent || this.lent.transfer) return;
    this.lent.transfer = transfer;
    await this.kept.keep(transfer, this.lent.picked);
  }

  /** It needs files. Resolves when it is known whether there are any; true if that has changed. */
  async needed(transfer: string): Promise<boolean> {
    if (this.asked === transfer) return false;
    this.asked = transfer;
    const kept = await this.kept.find(transfer);
    this.remembered = kept && { transfer, ...kept };
    return kept !== null;
  }

  /** What is lent already is needed, as if the page had been away: lend it once more. */
  async offerSame(transfer: string): Promise<void> {
    if (this.lent?.transfer === transfer) await this.offer(this.lent.picked, transfer);
  }

  /** Lend what is remembered. From a click, as the browser asks whether it may. */
  async again(transfer: string): Promise<void> {
    const remembered = this.remembered;
    if (remembered?.transfer !== transfer) throw new Refusal("nothing", "No files are remembered here.");
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

  /** The transfer is over. */
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
      throw new Refusal("unknown", "The kernel asked for something that makes no sense.");
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
  if (gone !== undefined) throw new Refusal("source-changed", `"${gone}" is not there any more.`);
  if (other !== undefined) throw new Refusal("source-changed", `"${other}" is not the same file any more.`);
}

/** As the kernel wants to hear of them; a folder only if nothing is in it. */
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
