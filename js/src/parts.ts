/** Joins the parts of one answer, which may arrive in any order and repeatedly. */

import type { Answer } from "./calls";
import { type Bytes, isMessage, type Message } from "./frames";

const MOST = 64;

export class Parts {
  private parts: (Bytes | undefined)[] = [];
  private ok: Message | null = null;
  private bytes = 0;

  /** Add a part; returns the answer once complete. An invalid part is ignored, so it is requested again. */
  add(message: Message, buffer: Bytes): Answer | null {
    const { part = 0, parts = 1 } = message;
    if (!isIndex(part) || !isIndex(parts) || part >= parts || parts > MOST) return null;
    // The answer was repeated on another carrier, and split differently.
    if (parts !== this.parts.length) this.begin(parts);
    if (this.parts[part] === undefined) this.bytes += buffer.length;
    this.parts[part] ??= buffer;
    if (isMessage(message.ok)) this.ok = message.ok;
    return this.ok && this.parts.every((each) => each !== undefined) ? this.whole(this.ok) : null;
  }

  private begin(parts: number): void {
    this.parts = new Array<Bytes | undefined>(parts).fill(undefined);
    this.ok = null;
    this.bytes = 0;
  }

  private whole(ok: Message): Answer {
    const [only] = this.parts;
    if (this.parts.length === 1 && only) return { ok, buffer: only };
    const buffer = new Uint8Array(this.bytes);
    let at = 0;
    for (const part of this.parts) {
      if (part) buffer.set(part, at);
      at += part?.length ?? 0;
    }
    return { ok, buffer };
  }
}

function isIndex(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}
