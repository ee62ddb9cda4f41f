/** Whether a kernel stands behind the card: it is asked when nothing came of it for a while. */

import type { Clock } from "./clock";

const QUIET = 5000; // ms without a view
const LONGEST = 60_000; // between two questions while nothing is expected
const SILENT = 20_000; // ms without an answer

export interface Asked {
  /** Asks for a view; when it comes `saw` is called. */
  look(signal: AbortSignal): Promise<void>;
  isFinal(): boolean;
  isResting(): boolean;
  /** It became silent, or is not any more. */
  changed(): void;
}

export class Pulse {
  /** Whether nobody answers. */
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

  /** Something came from the kernel, whatever it is. */
  alive(): void {
    if (this.asking) this.wait();
    if (!this.silent) return;
    this.silent = false;
    this.asked.changed();
  }

  /** A view came. `news`: it shows something else than the one before. */
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
      if (!asking.signal.aborted) this.saw(false); // a refusal is an answer as well
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
