/** Checks whether the kernel still answers, by a question after a while of silence. */

import type { Clock } from "./clock";

// Milliseconds without a view.
const QUIET = 5000;
// Milliseconds between two questions while no news is expected.
const LONGEST = 60_000;
// Milliseconds without an answer.
const SILENT = 20_000;

export interface Asked {
  /** Asks for a view; `saw` is called when it arrives. */
  look(signal: AbortSignal): Promise<void>;
  isFinal(): boolean;
  isResting(): boolean;
  /** Called when the kernel falls silent, or answers again. */
  changed(): void;
}

export class Pulse {
  /** Whether the kernel does not answer. */
  silent = false;
  private stopResting: () => void = () => undefined;
  private stopWaiting: () => void = () => undefined;
  private asking: AbortController | null = null;
  private quiet = QUIET;
  private closed = false;

  constructor(
    private readonly clock: Clock,
    private readonly asked: Asked,
  ) {}

  start(): void {
    this.rest();
  }

  /** Note any message from the kernel. */
  alive(): void {
    if (this.asking) this.wait();
    if (!this.silent) return;
    this.silent = false;
    this.asked.changed();
  }

  /** Note a view. `news`: it differs from the previous one. */
  saw(news: boolean): void {
    this.asking?.abort();
    this.asking = null;
    this.stopWaiting();
    if (news || !this.asked.isResting()) this.quiet = QUIET;
    this.rest();
    this.alive();
  }

  close(): void {
    this.closed = true;
    this.stopResting();
    this.stopWaiting();
    this.asking?.abort();
  }

  private rest(): void {
    this.stopResting();
    if (this.closed || this.asked.isFinal()) return;
    this.stopResting = this.clock.after(this.quiet, () => this.ask());
  }

  private ask(): void {
    this.quiet = Math.min(2 * this.quiet, LONGEST);
    const asking = new AbortController();
    this.asking = asking;
    this.wait();
    this.asked.look(asking.signal).catch(() => {
      // A refusal is an answer too.
      if (!asking.signal.aborted) this.saw(false);
    });
  }

  private wait(): void {
    this.stopWaiting();
    this.stopWaiting = this.clock.after(SILENT, () => {
      this.silent = true;
      this.asked.changed();
    });
  }
}
