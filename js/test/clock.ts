import type { Clock } from "../src/clock";

/** Time that passes when a test says so. */
export class TestClock implements Clock {
  private time = 0;
  private timers: { at: number; action: () => void }[] = [];

  now(): number {
    return this.time;
  }

  after(ms: number, action: () => void): () => void {
    const timer = { at: this.time + ms, action };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((each) => each !== timer);
    };
  }

  /** Let time pass, and everything that was waited for happen. */
  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    await settle();
    for (let next = this.next(end); next; next = this.next(end)) {
      this.timers = this.timers.filter((each) => each !== next);
      this.time = next.at;
      next.action();
      await settle();
    }
    this.time = end;
  }

  get pending(): number {
    return this.timers.length;
  }

  private next(end: number): { at: number; action: () => void } | undefined {
    return this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
  }
}

/** Until nothing happens any more without time or messages. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

declare function setImmediate(action: (value: unknown) => void): void;
