import { expect, test, vi } from "vitest";
import { Hands, type Helper } from "../src/hands";
import type { Done } from "../src/hashing";
import type { FromWorker, ToWorker } from "../src/worker";

class TestHelper implements Helper {
  onmessage: Helper["onmessage"] = null;
  onerror: Helper["onerror"] = null;
  readonly asked: ToWorker[] = [];
  readonly given: Transferable[] = [];
  terminate = vi.fn();

  postMessage(message: ToWorker, transfer: Transferable[]): void {
    this.asked.push(message);
    this.given.push(...transfer);
  }

  says(data: FromWorker): void {
    this.onmessage?.({ data } as MessageEvent<FromWorker>);
  }

  breaks(): void {
    this.onerror?.({ preventDefault: () => undefined } as ErrorEvent);
  }
}

const DONE: Done = { digest: "d", bytes: new ArrayBuffer(3), length: 3 };

function job() {
  return { do: "hash", bytes: new ArrayBuffer(3) } as const;
}

test("a worker is begun with the first job, and gets jobs once it is ready; buffers are handed over", async () => {
  const helper = new TestHelper();
  const begin = vi.fn(() => helper);
  const hands = new Hands(begin);
  expect(begin).not.toHaveBeenCalled();
  const [first, second] = [job(), job()];
  const done = [hands.perform(first), hands.perform(second)];
  expect(helper.asked).toHaveLength(0);
  helper.says({ ready: true });
  await vi.waitFor(() => expect(helper.asked).toHaveLength(2));
  expect(helper.given).toEqual([first.bytes, second.bytes]);
  helper.says({ id: 2, failed: { name: "NotReadableError", message: "no" } });
  helper.says({ id: 1, done: DONE });
  expect(await done[0]).toBe(DONE);
  await expect(done[1]).rejects.toMatchObject({ name: "NotReadableError", message: "no" });
  expect(begin).toHaveBeenCalledOnce();
});

test.each<[string, () => Helper]>([
  [
    "workers are forbidden",
    () => {
      throw new DOMException("no", "SecurityError");
    },
  ],
  [
    "its script is refused",
    () => {
      const helper = new TestHelper();
      queueMicrotask(() => helper.breaks());
      return helper;
    },
  ],
  [
    "it cannot hash",
    () => {
      const helper = new TestHelper();
      queueMicrotask(() => helper.says({ ready: false }));
      return helper;
    },
  ],
])("the page does it itself where %s", async (_, begin) => {
  const here = vi.fn(async () => DONE);
  const hands = new Hands(begin, here);
  expect(await hands.perform(job())).toBe(DONE);
  expect(here).toHaveBeenCalledOnce();
});

test("what a worker had in work when it broke fails, to be tried again, and the page goes on", async () => {
  const helper = new TestHelper();
  const hands = new Hands(
    () => helper,
    async () => DONE,
  );
  const lost = hands.perform(job());
  helper.says({ ready: true });
  await vi.waitFor(() => expect(helper.asked).toHaveLength(1));
  helper.breaks();
  await expect(lost).rejects.toMatchObject({ name: "AbortError" });
  expect(await hands.perform(job())).toBe(DONE);
});

test("close ends the worker", async () => {
  const helper = new TestHelper();
  const hands = new Hands(() => helper);
  const lost = hands.perform(job());
  helper.says({ ready: true });
  await vi.waitFor(() => expect(helper.asked).toHaveLength(1));
  hands.close();
  await expect(lost).rejects.toMatchObject({ name: "AbortError" });
  expect(helper.terminate).toHaveBeenCalled();
});
