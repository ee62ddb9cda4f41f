/** Reads and hashes in a worker, started on first use, or in the page where workers are not allowed. */

import { type Done, type Failed, type Job, perform } from "./hashing";
import type { FromWorker, ToWorker } from "./worker";

export type Perform = (job: Job) => Promise<Done>;

/** The part of Worker that is used. */
export interface Helper {
  onmessage: ((event: MessageEvent<FromWorker>) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
  postMessage(message: ToWorker, transfer: Transferable[]): void;
  terminate(): void;
}

interface Waiting {
  resolve(done: Done): void;
  reject(error: unknown): void;
}

export class Hands {
  private helper: Promise<Helper | null> | null = null;
  private readonly waiting = new Map<number, Waiting>();
  private lastId = 0;

  constructor(
    private readonly begin: () => Helper,
    private readonly here: Perform = perform,
  ) {}

  readonly perform: Perform = async (job) => {
    this.helper ??= this.begun();
    const helper = await this.helper;
    return helper ? this.ask(helper, job) : this.here(job);
  };

  close(): void {
    void this.helper?.then((helper) => helper?.terminate());
    this.helper = Promise.resolve(null);
    this.fail(new DOMException("The card is gone.", "AbortError"));
  }

  private ask(helper: Helper, job: Job): Promise<Done> {
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      const given = job.do === "hash" ? job.bytes : job.into;
      helper.postMessage({ id, job }, given ? [given] : []);
    });
  }

  /** A worker that is ready; null if workers are forbidden or it cannot hash. */
  private begun(): Promise<Helper | null> {
    return new Promise((resolve) => {
      let helper: Helper;
      try {
        helper = this.begin();
      } catch {
        // The page may forbid workers.
        resolve(null);
        return;
      }
      helper.onerror = (event) => {
        event.preventDefault?.();
        helper.terminate();
        resolve(null);
        this.helper = Promise.resolve(null);
        this.fail(new DOMException("The worker has ended.", "AbortError"));
      };
      helper.onmessage = ({ data }) => {
        if ("ready" in data) resolve(data.ready ? helper : null);
        else this.settle(data);
      };
    });
  }

  private settle(answer: Exclude<FromWorker, { ready: boolean }>): void {
    const waiting = this.waiting.get(answer.id);
    this.waiting.delete(answer.id);
    if ("done" in answer) waiting?.resolve(answer.done);
    else waiting?.reject(asError(answer.failed));
  }

  private fail(error: DOMException): void {
    for (const waiting of this.waiting.values()) waiting.reject(error);
    this.waiting.clear();
  }
}

function asError({ name, message }: Failed): DOMException {
  return new DOMException(message, name);
}

/** Starts a worker from its source; throws where the page forbids that. */
export function workerOf(source: string): Helper {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    return new Worker(url);
  } finally {
    // Later, because the worker fetches it after this call.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }
}
