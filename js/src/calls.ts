/**
 * Requests between a page and its kernel, both ways, over carriers that lose and repeat messages.
 *
 * A request goes out on the best carrier. Without an answer it is repeated: on a comm after a while, on another carrier
 * at once when the first is lost or a better one connects. The kernel does nothing twice.
 */

import type { Clock } from "./clock";
import { type Bytes, isMessage, type Message, NO_BYTES, pieces } from "./frames";
import { Parts } from "./parts";
import { Refusal } from "./types";

/** A way to send to the kernel. Messages may be lost without notice. */
export interface Carrier {
  readonly kind: "line" | "comm";
  /** Bytes of the largest buffer that it accepts. */
  readonly part: number;
  /** Resolves when there is room for more; rejects when the carrier is lost. */
  send(message: Message, buffer: Bytes): Promise<void>;
}

export interface Answer {
  ok: Message;
  buffer: Bytes;
}

/** Handles a request of the kernel. Rejects with Refusal, which the kernel is told. */
export type Serve = (op: string, message: Message) => Promise<Served>;

export interface Served extends Answer {
  /** Called when a carrier has taken the buffer, or will never send it. */
  sent?: () => void;
}

/** Handles what the kernel sends without a request. */
export type Heard = (op: string, message: Message) => void;

/** Marks a request with a large answer: it is not repeated while others are answered. */
const BULK: ReadonlySet<string> = new Set(["fetch"]);

// Milliseconds without an answer; the last value repeats.
const AGAIN = [2000, 4000, 8000, 16_000];
// The same on a line; the repetition goes over the comm, because the line may be dead.
const ON_LINE = [4000, 16_000];
// Longer for bulk: 1 MiB takes a while on a slow line.
const BULK_ON_LINE = [60_000];

interface Call {
  readonly message: Message;
  readonly parts: Parts;
  readonly settle: (answer: Answer) => void;
  readonly fail: (error: unknown) => void;
  carrier: Carrier | null;
  tries: number;
  stopTimer: () => void;
}

export class Calls {
  private readonly carriers = new Map<Carrier["kind"], Carrier>();
  private readonly calls = new Map<number, Call>();
  private readonly inWork = new Map<string, Carrier>();
  private lastId = 0;
  private closed = false;

  constructor(
    private readonly page: string,
    private readonly clock: Clock,
    private readonly serve: Serve,
    private readonly heard: Heard,
  ) {}

  // ---------------------------------------------------------------- carriers

  /** Add a carrier; repeat unanswered requests on it. */
  came(carrier: Carrier): void {
    this.carriers.set(carrier.kind, carrier);
    if (this.best() !== carrier) return;
    for (const call of this.calls.values()) if (call.carrier !== carrier) this.post(call);
  }

  /** Remove a lost carrier; messages on their way may be lost with it. */
  lost(carrier: Carrier): void {
    if (this.carriers.get(carrier.kind) === carrier) this.carriers.delete(carrier.kind);
    for (const call of this.calls.values()) if (call.carrier === carrier) this.post(call);
  }

  private best(): Carrier | null {
    return this.carriers.get("line") ?? this.carriers.get("comm") ?? null;
  }

  // ---------------------------------------------------------------- what the page wants

  /** Ask the kernel. Rejects with Refusal if it refuses, or with the reason of an aborted signal. */
  ask(op: string, fields: Message = {}, signal?: AbortSignal): Promise<Answer> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.closed) throw gone();
      const id = ++this.lastId;
      const abort = () => call.fail(signal?.reason);
      const settled = () => {
        this.calls.delete(id);
        call.stopTimer();
        signal?.removeEventListener("abort", abort);
      };
      const call: Call = {
        message: { ...fields, page: this.page, id, op },
        parts: new Parts(),
        settle(answer) {
          settled();
          resolve(answer);
        },
        fail(error) {
          settled();
          reject(error);
        },
        carrier: null,
        tries: 0,
        stopTimer: () => undefined,
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.calls.set(id, call);
      this.post(call);
    });
  }

  /** Send something that needs no answer, on all carriers; repetition does no harm. */
  tell(op: string): void {
    for (const carrier of this.carriers.values()) send(carrier, { page: this.page, op });
  }

  /** Ignore all carriers from now on; open requests fail. */
  close(): void {
    this.closed = true;
    for (const call of [...this.calls.values()]) call.fail(gone());
  }

  private post(call: Call): void {
    const carrier = this.best();
    call.carrier = carrier;
    if (carrier) send(carrier, call.message);
    this.wait(call);
  }

  private wait(call: Call): void {
    call.stopTimer();
    const pauses = call.carrier?.kind !== "line" ? AGAIN : isBulk(call) ? BULK_ON_LINE : ON_LINE;
    call.stopTimer = this.clock.after(nth(pauses, call.tries), () => {
      call.tries++;
      const comm = this.carriers.get("comm");
      if (comm) send(comm, call.message);
      this.wait(call);
    });
  }

  // ---------------------------------------------------------------- what comes

  /** Handle one message. */
  received(carrier: Carrier, message: Message, buffer: Bytes = NO_BYTES): void {
    if (this.closed || (message.page !== undefined && message.page !== this.page)) return;
    if (typeof message.re === "number") this.answered(message.re, message, buffer);
    else if (typeof message.op !== "string") return;
    else if (typeof message.id === "number") void this.work(carrier, message.id, message.op, message);
    else this.heard(message.op, message);
  }

  private answered(id: number, message: Message, buffer: Bytes): void {
    const call = this.calls.get(id);
    // The request was repeated, and this is the second answer.
    if (!call) return;
    if (isMessage(message.error)) {
      call.fail(refusal(message.error));
      return;
    }
    const whole = call.parts.add(message, buffer);
    if (whole) call.settle(whole);
    if (isBulk(call)) this.progress(call);
  }

  /** Bulk data arrived, so its other parts and later answers are on their way. */
  private progress(arrived: Call): void {
    if (this.calls.has(arrived.message.id as number)) this.wait(arrived);
    for (const call of this.calls.values()) if (isBulk(call)) this.wait(call);
  }

  // ---------------------------------------------------------------- what the kernel wants

  private async work(carrier: Carrier, id: number, op: string, message: Message): Promise<void> {
    const same = JSON.stringify(message);
    const known = this.inWork.has(same);
    this.inWork.set(same, carrier);
    // The request was repeated; the answer goes to the latest carrier.
    if (known) return;
    try {
      const served = await this.serve(op, message);
      await this.answer(same, id, served).finally(() => served.sent?.());
    } catch (error) {
      const { code, message: text, hint } = asRefusal(error);
      this.reply(this.wayBack(same), { re: id, error: { code, message: text, hint } }, NO_BYTES);
    } finally {
      this.inWork.delete(same);
    }
  }

  private async answer(same: string, id: number, answer: Answer): Promise<void> {
    const way = this.wayBack(same);
    const cut = pieces(answer.buffer, way?.part ?? answer.buffer.length);
    for (const [part, piece] of cut.entries()) {
      const place = cut.length > 1 ? { part, parts: cut.length } : {};
      const ok = part === cut.length - 1 ? { ok: answer.ok } : {};
      await this.reply(way, { re: id, ...place, ...ok }, piece);
      // Send all of it again, split for the new carrier.
      if (this.wayBack(same) !== way) return this.answer(same, id, answer);
    }
  }

  private async reply(way: Carrier | null, message: Message, buffer: Bytes): Promise<void> {
    await way?.send({ page: this.page, ...message }, buffer).catch(ignoreLoss);
  }

  /** The carrier of the request, or another if that is lost. */
  private wayBack(same: string): Carrier | null {
    const asked = this.inWork.get(same);
    return asked && this.carriers.get(asked.kind) === asked ? asked : this.best();
  }
}

function send(carrier: Carrier, message: Message): void {
  carrier.send(message, NO_BYTES).catch(ignoreLoss);
}

/** Ignored: the side that waits for the message repeats its request. */
function ignoreLoss(): void {}

function nth(list: readonly number[], at: number): number {
  return list[Math.min(at, list.length - 1)] ?? 0;
}

function isBulk(call: Call): boolean {
  return BULK.has(call.message.op as string);
}

function gone(): Refusal {
  return new Refusal("gone", "This card is closed.");
}

function refusal(error: Message): Refusal {
  const text = (value: unknown, otherwise: string) => (typeof value === "string" ? value : otherwise);
  return new Refusal(
    text(error.code, "error"),
    text(error.message, "The kernel refused the request."),
    text(error.hint, ""),
  );
}

function asRefusal(error: unknown): Refusal {
  return error instanceof Refusal ? error : new Refusal("storage", String(error));
}
