/** The worker's end: one answer for each job. It is bundled on its own and runs from a Blob. */

import { type Done, type Failed, failure, type Job, perform, prepare } from "./hashing";

export interface ToWorker {
  id: number;
  job: Job;
}

/** The first message is { ready }: whether the worker can be used. */
export type FromWorker = { ready: boolean } | { id: number; done: Done } | { id: number; failed: Failed };

/** The part of a worker's global scope that is used. */
interface Scope {
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  postMessage(message: FromWorker, transfer: Transferable[]): void;
}

const scope = globalThis as unknown as Scope;

scope.onmessage = async ({ data: { id, job } }) => {
  try {
    const done = await perform(job);
    scope.postMessage({ id, done }, [done.bytes]);
  } catch (error) {
    scope.postMessage({ id, failed: failure(error) }, []);
  }
};

prepare().then(
  () => scope.postMessage({ ready: true }, []),
  () => scope.postMessage({ ready: false }, []),
);
