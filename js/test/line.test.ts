import { beforeEach, expect, test } from "vitest";
import type { Carrier } from "../src/calls";
import { Packer, unpack } from "../src/frames";
import { Line } from "../src/line";
import { settle, TestClock } from "./clock";

class TestSocket {
  binaryType = "";
  bufferedAmount = 0;
  readonly sent: unknown[] = [];
  onopen: () => void = () => undefined;
  onclose: (event: { code: number }) => void = () => undefined;
  onmessage: (event: { data: unknown }) => void = () => undefined;

  send(data: Uint8Array<ArrayBuffer>): void {
    this.sent.push(unpack(data.slice().buffer)?.message);
    this.bufferedAmount += data.length;
  }

  close(): void {
    this.onclose({ code: 1000 });
  }
}

function packed(message: object, size = 0): ArrayBuffer {
  return new Packer().pack({ ...message }, new Uint8Array(size)).slice().buffer;
}

const MIB = 1024 * 1024;

let clock: TestClock;
let sockets: TestSocket[];
let told: string[];
let carrier: Carrier;
let line: Line;

beforeEach(() => {
  clock = new TestClock();
  sockets = [];
  told = [];
  const open = () => {
    const socket = new TestSocket();
    sockets.push(socket);
    return socket as unknown as WebSocket;
  };
  line = new Line(
    open,
    clock,
    {
      came: (up) => {
        carrier = up;
        told.push("came");
      },
      lost: () => told.push("lost"),
      received: (_, message, buffer) => told.push(`${JSON.stringify(message)} ${buffer.length}`),
    },
    () => 0.5,
  );
  line.start();
});

function socket(): TestSocket {
  const last = sockets.at(-1);
  if (!last) throw new Error("no socket");
  return last;
}

test("a socket that opens is a carrier, and its messages come with their buffers", () => {
  expect(socket().binaryType).toBe("arraybuffer");
  socket().onopen();
  socket().onmessage({ data: packed({ op: "view" }, 3) });
  socket().onmessage({ data: "text" });
  socket().onmessage({ data: new ArrayBuffer(1) });
  expect(told).toEqual(["came", '{"op":"view"} 3']);
});

test("a line that is lost comes again, later and later while it does not hold", async () => {
  const waits: number[] = [];
  for (let tries = 0; tries < 8; tries++) {
    socket().onclose({ code: 1006 });
    const before = clock.now();
    const count = sockets.length;
    while (sockets.length === count) await clock.pass(100);
    waits.push(clock.now() - before);
  }
  expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  expect(told).toEqual([]);
});

test("after one that held it comes again soon, but not where there is no kernel", async () => {
  for (const code of [1006, 4404]) {
    for (let tries = 0; tries < 4; tries++) {
      socket().onclose({ code: 1006 });
      await clock.pass(30_000);
    }
    socket().onopen();
    await clock.pass(20_000);
    const count = sockets.length;
    socket().onclose({ code });
    await clock.pass(500);
    expect(sockets.length - count).toBe(code === 1006 ? 1 : 0);
    await clock.pass(60_000);
  }
});

test("after close there is no other socket, and nothing waits", async () => {
  socket().onopen();
  line.close();
  await clock.pass(100_000);
  expect(sockets).toHaveLength(1);
  expect(told).toEqual(["came", "lost"]);
  expect(clock.pending).toBe(0);
});

test("hurry tries at once", async () => {
  socket().onclose({ code: 1006 });
  line.hurry();
  expect(sockets).toHaveLength(2);
});

test("buffers wait while more than 4 MiB are on their way, and go out in their order; commands do not wait", async () => {
  socket().onopen();
  const send = (name: string) => carrier.send({ name }, new Uint8Array(2 * MIB));
  const sending = [send("a"), send("b"), send("c"), send("d")];
  await settle();
  expect(socket().sent).toEqual([{ name: "a" }, { name: "b" }]);
  await carrier.send({ op: "pause" }, new Uint8Array(0));
  expect(socket().sent).toHaveLength(3);
  await clock.pass(100);
  expect(socket().sent).toHaveLength(3);
  socket().bufferedAmount = 0;
  await clock.pass(100);
  await Promise.all(sending);
  expect(socket().sent.slice(-2)).toEqual([{ name: "c" }, { name: "d" }]);
  expect(clock.pending).toBe(0);
});

test("a message that comes lets on what waits: timers are rare in a tab that is not seen", async () => {
  socket().onopen();
  socket().bufferedAmount = 5 * MIB;
  const sending = carrier.send({ name: "a" }, new Uint8Array(1));
  await settle();
  socket().bufferedAmount = 0;
  socket().onmessage({ data: packed({ op: "read" }) });
  await sending;
  expect(socket().sent).toEqual([{ name: "a" }]);
});

test("what waits when the line is lost fails", async () => {
  socket().onopen();
  socket().bufferedAmount = 5 * MIB;
  const sending = Promise.allSettled([1, 2].map((n) => carrier.send({ n }, new Uint8Array(1))));
  await settle();
  socket().onclose({ code: 1006 });
  await clock.pass(100);
  expect((await sending).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
});
