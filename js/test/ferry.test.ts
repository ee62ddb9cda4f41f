import { IDBFactory } from "fake-indexeddb";
import { beforeEach, expect, test, vi } from "vitest";
import { PageFerry } from "../src/ferry";
import { type Message, unpack } from "../src/frames";
import { Hands } from "../src/hands";
import { KeptHandles } from "../src/kept";
import type { TransferView, View } from "../src/types";
import { NO_VIEW } from "../src/view";
import { settle, TestClock } from "./clock";
import { TestModel } from "./model";

const PAGE = "0123456789abcdef";

const TRANSFER: TransferView = {
  id: "t1",
  role: "upload",
  state: "transferring",
  reason: "",
  title: "a",
  files: 1,
  total: 3,
  sent: 0,
  verified: 0,
  durable: 0,
  reused: 0,
  rate: 0,
  eta: null,
  via: "browser",
  via_since: null,
  wrong: 0,
  has_code: false,
  needs_files: false,
  can: ["pause", "cancel"],
  rows: [],
  seconds: 0,
  digest: "",
};

let model: TestModel;
let clock: TestClock;
let sockets: WebSocket[];
let sent: Message[];
let ferry: PageFerry;

function view(seq: number, over: Partial<View> = {}): View {
  return { ...NO_VIEW, seq, ...over };
}

function moving(seq: number, over: Partial<TransferView> = {}): View {
  return view(seq, { kind: "upload", phase: "transfer", transfer: { ...TRANSFER, ...over } });
}

function openSocket(): WebSocket {
  const socket = {
    bufferedAmount: 0,
    send: (data: Uint8Array<ArrayBuffer>) => sent.push(unpack(data.slice().buffer)?.message ?? {}),
    close: () => undefined,
  } as unknown as WebSocket;
  sockets.push(socket);
  return socket;
}

function make(findLine: () => Promise<(() => WebSocket) | null> = async () => null): PageFerry {
  const made = new PageFerry(model.asModel, {
    page: PAGE,
    language: "de",
    clock,
    hands: new Hands(() => {
      throw new Error("none");
    }),
    kept: new KeptHandles(new IDBFactory()),
    browser: { clicked: () => true, download: () => undefined },
    server: { base: "https://h/", sockets: "wss://h/", token: "" },
    findLine,
  });
  made.start();
  return made;
}

async function withLine(): Promise<WebSocket> {
  ferry.close();
  model.said.length = 0;
  ferry = make(async () => openSocket);
  await settle();
  const [socket] = sockets;
  if (!socket) throw new Error("no socket");
  socket.onopen?.({} as Event);
  return socket;
}

beforeEach(() => {
  model = new TestModel();
  clock = new TestClock();
  sockets = [];
  sent = [];
  model.traits.view = view(3, { kind: "upload" });
  ferry = make();
});

test("it greets the kernel with where the server is, and what the browser can", () => {
  expect(model.said).toEqual([
    { page: PAGE, id: 1, op: "hello", base: "https://h/", save: false, lang: "de" },
  ]);
});

test("the newest view counts, from wherever it comes; nonsense and old ones do not", async () => {
  const changed = vi.fn();
  const stop = ferry.watch(changed);
  expect(ferry.view.seq).toBe(3);
  model.shows(moving(5));
  model.says({ page: PAGE, op: "view", view: moving(4) });
  model.says({ page: PAGE, op: "view", view: "x" });
  expect(ferry.view.seq).toBe(5);
  model.says({ page: PAGE, re: 1, ok: { version: 1, view: moving(7, { sent: 2 }) } });
  await settle();
  expect(ferry.view.transfer?.sent).toBe(2);
  expect(changed).toHaveBeenCalledTimes(2);
  stop();
  model.shows(moving(9, { sent: 3 }));
  expect(changed).toHaveBeenCalledTimes(2);
});

test("what a person does is asked of the kernel, and its answer handed on", async () => {
  const answers: Record<string, Message> = {
    code: { code: "1-a", note: "here" },
    rows: { rows: [["a", 1, 1, 1]] },
    list: { folder: "/x", entries: [] },
  };
  model.kernel = ({ op }) => ({ ok: answers[op as string] ?? {} });
  expect(await ferry.code()).toEqual({ code: "1-a", note: "here" });
  expect(await ferry.rows(20, 10)).toEqual([["a", 1, 1, 1]]);
  expect(await ferry.list(null)).toEqual({ folder: "/x", parent: null, entries: [], more: 0 });
  await ferry.command("cancel", "late");
  await ferry.send(["/a"]);
  await ferry.receive("1-a");
  expect(model.said.slice(1).map(({ page: _, id: __, ...rest }) => rest)).toEqual([
    { op: "code" },
    { op: "rows", first: 20, count: 10 },
    { op: "list", folder: null },
    { op: "cancel", reason: "late" },
    { op: "send", paths: ["/a"] },
    { op: "receive", code: "1-a" },
  ]);
});

test("a kernel that says nothing for long is none, and is one again when it speaks", async () => {
  const changed = vi.fn();
  ferry.watch(changed);
  expect(ferry.reach.by).toBe("comm");
  await clock.pass(26_000);
  expect(ferry.reach.by).toBe("none");
  expect(changed).toHaveBeenCalledOnce();
  model.says({ page: "another", op: "view", view: view(2) });
  expect(ferry.reach.by).toBe("none");
  model.says({ page: PAGE, id: 1, op: "digest", path: "a", offset: 0, length: 1 });
  expect(ferry.reach.by).toBe("comm");
});

test("where there is a line it is used, with a greeting of its own; what was asked before is asked there too", async () => {
  const socket = await withLine();
  expect(ferry.reach.by).toBe("line");
  expect(sent.map(({ op, id }) => [op, id])).toEqual([
    ["hello", 1],
    ["hello", 2],
  ]);
  void ferry.command("pause");
  expect(sent.at(-1)).toMatchObject({ op: "pause" });
  expect(model.ops()).toEqual(["hello"]);
  socket.onclose?.({ code: 1006 } as CloseEvent);
  expect(ferry.reach.by).toBe("comm");
  expect(model.ops()).toContain("pause");
});

test("the page reads for the kernel what was offered, until the transfer is over", async () => {
  model.kernel = ({ op }) => (op === "offer" ? { ok: {} } : undefined);
  await ferry.offer([{ path: "a", file: new File(["abc"], "a") }]);
  const read = () => model.says({ page: PAGE, id: 1, op: "read", path: "a", offset: 0, length: 3 });
  read();
  await vi.waitFor(() =>
    expect(model.said.at(-1)).toMatchObject({ re: 1, ok: { digest: expect.any(String) } }),
  );
  model.shows(moving(5, { state: "done", can: [] }));
  await settle();
  read();
  await vi.waitFor(() => expect(model.said.at(-1)).toMatchObject({ re: 1, error: { code: "source-away" } }));
});

test("if the kernel thinks that the page was away, what it still has is lent again, once for each time", async () => {
  model.kernel = ({ op }) => (op === "offer" ? { ok: {} } : undefined);
  await ferry.offer([{ path: "a", file: new File(["abc"], "a") }]);
  const offers = () => model.ops().filter((op) => op === "offer").length;
  model.shows(moving(5));
  await settle();
  expect(offers()).toBe(1);
  model.shows(moving(6, { needs_files: true }));
  await vi.waitFor(() => expect(offers()).toBe(2));
  model.shows(moving(7));
  await settle();
  expect(offers()).toBe(2);
});

test("what can be saved is asked for beforehand: a dialog opens only soon after a click", async () => {
  model.kernel = ({ op }) => (op === "files" ? { ok: { files: [] } } : undefined);
  model.shows(moving(5, { state: "done", can: ["save"] }));
  await settle();
  expect(model.ops()).toContain("files");
  await expect(ferry.save(() => undefined, new AbortController().signal)).rejects.toMatchObject({
    code: "nothing",
  });
  expect(model.ops().filter((op) => op === "files")).toHaveLength(1);
});

test("a page that comes back greets again", () => {
  ferry.leave();
  ferry.cameBack();
  expect(model.ops()).toEqual(["hello", "bye", "hello"]);
});

test("after close it has said goodbye, hears nothing and waits for nothing", async () => {
  ferry.close();
  ferry.close();
  expect(model.ops()).toEqual(["hello", "bye"]);
  expect(model.listening).toBe(0);
  expect(clock.pending).toBe(0);
  await expect(ferry.code()).rejects.toMatchObject({ code: "gone" });
});
