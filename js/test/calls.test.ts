import { describe, expect, test, vi } from "vitest";
import { type Answer, Calls, type Carrier, type Served } from "../src/calls";
import { type Bytes, type Message, NO_BYTES } from "../src/frames";
import { Refusal } from "../src/types";
import { settle, TestClock } from "./clock";

const PAGE = "0123456789abcdef";

interface Said {
  message: Message;
  buffer: Bytes;
}

class TestCarrier implements Carrier {
  readonly said: Said[] = [];
  up = true;

  constructor(
    readonly kind: "line" | "comm",
    readonly part = kind === "line" ? 8 : 4,
  ) {}

  async send(message: Message, buffer: Bytes): Promise<void> {
    if (!this.up) throw new Error("lost");
    this.said.push({ message, buffer });
  }

  get messages(): Message[] {
    return this.said.map(({ message }) => message);
  }
}

function rig(
  serve: (op: string, message: Message) => Promise<Served> = () => Promise.reject(new Error("none")),
) {
  const clock = new TestClock();
  const heard = vi.fn();
  const calls = new Calls(PAGE, clock, serve, heard);
  const comm = new TestCarrier("comm");
  const line = new TestCarrier("line");
  calls.came(comm);
  return { clock, calls, comm, line, heard };
}

function served(bytes: number[], sent?: () => void): Served {
  return { ok: { digest: "d" }, buffer: new Uint8Array(bytes), ...(sent && { sent }) };
}

describe("what the page asks", () => {
  test("has the page's name and ids that count up from 1, and is answered by id", async () => {
    const { calls, comm } = rig();
    const first = calls.ask("code");
    const second = calls.ask("rows", { first: 0 });
    expect(comm.messages).toEqual([
      { page: PAGE, id: 1, op: "code" },
      { page: PAGE, id: 2, op: "rows", first: 0 },
    ]);
    calls.received(comm, { re: 2, ok: { rows: [] } });
    calls.received(comm, { re: 1, ok: { code: "c" } });
    expect((await first).ok).toEqual({ code: "c" });
    expect((await second).ok).toEqual({ rows: [] });
  });

  test("is said again on a comm after 2, 4, 8, 16, 16 … seconds, the same each time, and not once it is answered", async () => {
    const { calls, comm, clock } = rig();
    const asked = calls.ask("pause");
    const counts: number[] = [];
    for (const seconds of [1.9, 0.2, 4, 8, 16, 16]) {
      await clock.pass(seconds * 1000);
      counts.push(comm.said.length);
    }
    expect(counts).toEqual([1, 2, 3, 4, 5, 6]);
    expect(new Set(comm.messages.map((each) => JSON.stringify(each))).size).toBe(1);
    calls.received(comm, { re: 1, ok: {} });
    await asked;
    await clock.pass(100_000);
    expect(comm.said).toHaveLength(6);
    expect(clock.pending).toBe(0);
  });

  test("moves at once to the comm when the line is lost, and to the line when it comes", async () => {
    const { calls, comm, line } = rig();
    calls.ask("pause").catch(() => undefined);
    calls.came(line);
    expect(line.messages).toEqual([{ page: PAGE, id: 1, op: "pause" }]);
    calls.lost(line);
    expect(comm.messages).toEqual([line.messages[0], line.messages[0]]);
  });

  test("is said on the comm too when a line that is up does not answer: it may be dead", async () => {
    const { calls, comm, line, clock } = rig();
    calls.came(line);
    calls.ask("pause").catch(() => undefined);
    calls.ask("fetch").catch(() => undefined);
    expect(comm.said).toHaveLength(0);
    await clock.pass(5000);
    expect(comm.messages.map(({ op }) => op)).toEqual(["pause"]);
    await clock.pass(56_000);
    expect(comm.messages.filter(({ op }) => op === "fetch")).toHaveLength(1);
  });

  test("a fetch waits as long as others come: a slow way is not made slower by asking again", async () => {
    const { calls, comm, clock } = rig();
    const two = [calls.ask("fetch", { file: 0 }), calls.ask("fetch", { file: 1 })];
    await clock.pass(1500);
    calls.received(comm, { re: 1, part: 0, parts: 2 }, new Uint8Array([1]));
    await clock.pass(1500);
    calls.received(comm, { re: 1, part: 1, parts: 2, ok: {} }, new Uint8Array([2]));
    await clock.pass(1500);
    expect(comm.said).toHaveLength(2);
    await clock.pass(1000);
    expect(comm.messages.map(({ id }) => id)).toEqual([1, 2, 2]);
    expect([...((await two[0])?.buffer ?? [])]).toEqual([1, 2]);
  });

  test("a refusal says code, message and hint", async () => {
    const { calls, comm } = rig();
    const asked = calls.ask("receive", { code: "x" });
    calls.received(comm, { re: 1, error: { code: "wrong-code", message: "No.", hint: "Look." } });
    await expect(asked).rejects.toMatchObject({ code: "wrong-code", message: "No.", hint: "Look." });
    await expect(asked).rejects.toBeInstanceOf(Refusal);
  });

  test("ends with the signal's reason, and is not said again", async () => {
    const { calls, comm, clock } = rig();
    const ending = new AbortController();
    const asked = calls.ask("fetch", {}, ending.signal);
    ending.abort(new Error("enough"));
    await expect(asked).rejects.toThrow("enough");
    await clock.pass(60_000);
    expect(comm.said).toHaveLength(1);
    await expect(calls.ask("fetch", {}, ending.signal)).rejects.toThrow("enough");
  });

  test("parts come in any order and more than once; another cut, from another carrier, begins anew", async () => {
    const { calls, comm, line } = rig();
    const asked = calls.ask("fetch");
    const part = (carrier: Carrier, at: number, of: number, bytes: number[]) =>
      calls.received(
        carrier,
        { re: 1, part: at, parts: of, ...(at === of - 1 ? { ok: { digest: "d" } } : {}) },
        new Uint8Array(bytes),
      );
    part(comm, 2, 3, [5]);
    part(comm, 0, 3, [1, 2]);
    part(comm, 0, 3, [1, 2]);
    part(line, 1, 2, [4, 5]);
    part(line, 7, 2, [9]);
    part(line, 0, 2, [1, 2, 3]);
    const { ok, buffer } = await asked;
    expect(ok).toEqual({ digest: "d" });
    expect([...buffer]).toEqual([1, 2, 3, 4, 5]);
  });

  test("fails when the card is closed, before and after", async () => {
    const { calls } = rig();
    const asked = calls.ask("code");
    calls.close();
    await expect(asked).rejects.toMatchObject({ code: "gone" });
    await expect(calls.ask("code")).rejects.toMatchObject({ code: "gone" });
  });

  test("goodbye goes out on every carrier and waits for nothing", async () => {
    const { calls, comm, line, clock } = rig();
    calls.came(line);
    calls.tell("bye");
    expect([comm.messages, line.messages]).toEqual([
      [{ page: PAGE, op: "bye" }],
      [{ page: PAGE, op: "bye" }],
    ]);
    expect(clock.pending).toBe(0);
  });
});

describe("what the kernel says", () => {
  test("is heard if it is for this page or for all", () => {
    const { calls, comm, heard } = rig();
    calls.received(comm, { page: "another", op: "view" });
    calls.received(comm, { page: PAGE, op: "view", view: 1 });
    calls.received(comm, { op: "view", view: 2 });
    calls.received(comm, { nonsense: true });
    expect(heard.mock.calls.map(([, message]) => message.view)).toEqual([1, 2]);
  });

  test("a slice is answered where it was asked, in the parts that the carrier takes, the last with ok", async () => {
    const sent = vi.fn();
    const { calls, comm, line } = rig(async () => served([1, 2, 3, 4, 5], sent));
    calls.came(line);
    calls.received(comm, { page: PAGE, id: 7, op: "read" });
    await settle();
    expect(line.said).toHaveLength(0);
    expect(comm.messages).toEqual([
      { page: PAGE, re: 7, part: 0, parts: 2 },
      { page: PAGE, re: 7, part: 1, parts: 2, ok: { digest: "d" } },
    ]);
    expect(comm.said.map(({ buffer }) => [...buffer])).toEqual([[1, 2, 3, 4], [5]]);
    expect(sent).toHaveBeenCalledOnce();
  });

  test("a request that is in work is not begun twice, and done again when it comes after its answer", async () => {
    let answer: (value: Served) => void = () => undefined;
    const serve = vi.fn(() => new Promise<Served>((resolve) => (answer = resolve)));
    const { calls, comm, line } = rig(serve);
    calls.received(comm, { page: PAGE, id: 1, op: "digest" });
    calls.came(line);
    calls.received(line, { page: PAGE, id: 1, op: "digest" });
    expect(serve).toHaveBeenCalledTimes(1);
    answer(served([]));
    await settle();
    expect(comm.said).toHaveLength(0);
    expect(line.messages).toEqual([{ page: PAGE, re: 1, ok: { digest: "d" } }]); // where it was asked last
    calls.received(line, { page: PAGE, id: 1, op: "digest" });
    expect(serve).toHaveBeenCalledTimes(2);
  });

  test("what was on a line that is lost goes over the comm, cut as that takes it", async () => {
    const { calls, comm, line } = rig(async () => served([1, 2, 3, 4, 5, 6]));
    calls.came(line);
    line.send = async () => {
      calls.lost(line);
      throw new Error("lost");
    };
    calls.received(line, { page: PAGE, id: 1, op: "read" });
    await settle();
    expect(comm.said.map(({ buffer }) => [...buffer])).toEqual([
      [1, 2, 3, 4],
      [5, 6],
    ]);
  });

  test("what fails is an error with code, message and hint", async () => {
    const { calls, comm } = rig(() => Promise.reject(new Refusal("source-away", "Gone.", "Come back.")));
    calls.received(comm, { page: PAGE, id: 3, op: "read" });
    await settle();
    expect(comm.messages).toEqual([
      { page: PAGE, re: 3, error: { code: "source-away", message: "Gone.", hint: "Come back." } },
    ]);
  });
});

test("on a carrier that loses half and repeats a third, everything is answered, and begun once by the kernel", async () => {
  const { calls, comm, clock } = rig();
  const kernel = new Map<number, Message>();
  let begun = 0;
  let dice = 1;
  const roll = () => {
    dice = (dice * 48271) % 2147483647;
    return dice / 2147483647;
  };
  comm.send = async (message) => {
    const id = message.id as number;
    if (roll() < 0.5) return;
    if (!kernel.has(id)) {
      begun++;
      kernel.set(id, { re: id, ok: { twice: id * 2 } });
    }
    const answer = kernel.get(id);
    for (let times = roll() < 0.33 ? 2 : 1; answer && times > 0; times--) {
      if (roll() > 0.5) queueMicrotask(() => calls.received(comm, answer, NO_BYTES));
    }
  };
  const asked: Promise<Answer>[] = [];
  for (let n = 0; n < 50; n++) asked.push(calls.ask("rows", { first: n }));
  await clock.pass(600_000);
  expect((await Promise.all(asked)).map(({ ok }) => ok.twice)).toEqual(asked.map((_, at) => 2 * (at + 1)));
  expect(begun).toBe(50);
});
