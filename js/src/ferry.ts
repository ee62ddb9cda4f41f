/** The model's half of a card: everything that a view may do, over the available carriers. */

import type { AnyModel } from "@anywidget/types";
import { type Answer, Calls, type Carrier } from "./calls";
import type { Clock } from "./clock";
import { Comm } from "./comm";
import { type Bytes, isMessage, type Message } from "./frames";
import type { Hands } from "./hands";
import type { KeptHandles } from "./kept";
import { Lending } from "./lending";
import { Line, type LineEvents } from "./line";
import type { KernelFile } from "./pull";
import { Pulse } from "./pulse";
import { type Browser, type Progress, type Saved, save } from "./save";
import type { Server } from "./server";
import { Slices } from "./slices";
import {
  type Command,
  type Ferry,
  type KernelFolder,
  type Picked,
  type Reach,
  Refusal,
  type Row,
  type View,
} from "./types";
import { asView, canSave, isFinal, isResting, NO_VIEW } from "./view";

/** The dependencies of a ferry; tests replace them. */
export interface Surroundings {
  page: string;
  language: string;
  clock: Clock;
  hands: Hands;
  kept: KeptHandles;
  browser: Browser;
  server: Server | null;
  /** Opens a line's socket; null where there are no lines. Resolved in the background. */
  findLine: () => Promise<(() => WebSocket) | null>;
}

// Longer lists of files are requested only when needed.
const MANY = 1000;

export class PageFerry implements Ferry {
  view: View = NO_VIEW;
  private readonly calls: Calls;
  private readonly comm: Comm;
  private readonly pulse: Pulse;
  private readonly lending: Lending;
  private readonly slices: Slices;
  private readonly watchers = new Set<() => void>();
  private line: Line | null = null;
  private lineIsUp = false;
  private savable: Promise<KernelFile[]> | null = null;
  private relending = false;
  private ended = "";
  private closed = false;

  constructor(
    private readonly model: AnyModel,
    private readonly around: Surroundings,
  ) {
    const { page, clock, hands, kept } = around;
    this.slices = new Slices(hands.perform, clock);
    this.calls = new Calls(
      page,
      clock,
      (op, message) => this.lending.serve(op, message),
      (op, message) => this.told(op, message),
    );
    this.lending = new Lending(
      this.slices,
      kept,
      async (fields) => void (await this.calls.ask("offer", fields)),
    );
    this.pulse = new Pulse(clock, {
      look: async (signal) => this.answered(await this.calls.ask("look", {}, signal)),
      isFinal: () => isFinal(this.view),
      isResting: () => isResting(this.view),
      changed: () => this.notify(),
    });
    this.comm = new Comm(model, this.received);
  }

  /** Connect. Returns at once; carriers follow later. */
  start(): void {
    this.model.on("change:view", this.traitChanged);
    this.traitChanged();
    this.calls.came(this.comm);
    this.greet();
    this.pulse.start();
    void this.openLine();
  }

  /** Say goodbye and close for good. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.leave();
    this.pulse.close();
    this.calls.close();
    this.line?.close();
    this.comm.close();
    this.model.off("change:view", this.traitChanged);
    this.around.hands.close();
    this.watchers.clear();
  }

  /** Handle that the page is hidden; it may come back. */
  leave(): void {
    this.calls.tell("bye");
  }

  /** Handle that the page is back. */
  cameBack(): void {
    this.line?.hurry();
    this.greet();
  }

  // ---------------------------------------------------------------- Ferry

  get reach(): Reach {
    // Even with a line up: it may end at the server and wait for a kernel.
    if (this.pulse.silent) return { by: "none" };
    return { by: this.lineIsUp ? "line" : "comm" };
  }

  get remembered(): boolean {
    return this.lending.remembers(this.transfer);
  }

  watch(changed: () => void): () => void {
    // A new function, so that the same one may watch twice.
    const watcher = () => changed();
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  async command(name: Exclude<Command, "save">, reason = ""): Promise<void> {
    await this.calls.ask(name, { reason });
  }

  async code(): Promise<{ code: string; note: string }> {
    const { ok } = await this.calls.ask("code");
    return { code: text(ok.code), note: text(ok.note) };
  }

  async rows(first: number, count: number): Promise<Row[]> {
    const { ok } = await this.calls.ask("rows", { first, count });
    return Array.isArray(ok.rows) ? (ok.rows as Row[]) : [];
  }

  async list(folder: string | null): Promise<KernelFolder> {
    const { ok } = await this.calls.ask("list", { folder });
    return { folder: "", parent: null, entries: [], more: 0, ...(ok as Partial<KernelFolder>) };
  }

  async send(paths: string[]): Promise<void> {
    await this.calls.ask("send", { paths });
  }

  async receive(code: string): Promise<void> {
    await this.calls.ask("receive", { code });
  }

  offer(files: Picked[]): Promise<void> {
    return this.lending.offer(files, this.transfer);
  }

  lendAgain(): Promise<void> {
    return this.lending.again(this.transfer);
  }

  async save(progress: Progress, signal: AbortSignal): Promise<Saved> {
    const { browser, server, hands, clock } = this.around;
    try {
      const files = await this.listSavable();
      signal.throwIfAborted();
      const means = { fetch: this.fetch, perform: hands.perform, clock };
      return await save(files, browser, server, means, progress, signal);
    } catch (error) {
      // The list may be out of date.
      if (!(error instanceof Refusal && error.code === "click")) this.savable = null;
      throw error;
    }
  }

  // ---------------------------------------------------------------- views

  private get transfer(): string {
    return this.view.transfer?.id ?? "";
  }

  private readonly traitChanged = (): void => this.show(this.model.get("view"));

  private show(said: unknown): void {
    const view = asView(said);
    if (!view || view.seq <= this.view.seq) return;
    const news = JSON.stringify({ ...view, seq: 0 }) !== JSON.stringify({ ...this.view, seq: 0 });
    this.view = view;
    this.pulse.saw(news);
    if (!news) return;
    // The next view or a person repeats it.
    this.follow(view).catch(() => undefined);
    this.notify();
  }

  /** Update the files of this machine and the list of files to save. */
  private async follow(view: View): Promise<void> {
    const { transfer } = view;
    if (!canSave(view)) this.savable = null;
    // A click repeats it.
    else if (!transfer || transfer.files <= MANY) this.listSavable().catch(() => undefined);
    if (!transfer) return;
    if (isFinal(view)) {
      if (this.ended === transfer.id) return;
      this.ended = transfer.id;
      await this.lending.over(transfer.id);
      return;
    }
    await this.lending.began(transfer.id);
    if (!transfer.needs_files) return;
    if (await this.lending.needed(transfer.id)) this.notify();
    await this.lendSame(transfer.id);
  }

  private async lendSame(transfer: string): Promise<void> {
    if (this.relending) return;
    this.relending = true;
    try {
      await this.lending.offerSame(transfer);
    } finally {
      this.relending = false;
    }
  }

  private notify(): void {
    for (const watcher of [...this.watchers]) watcher();
  }

  // ---------------------------------------------------------------- messages

  private readonly received = (carrier: Carrier, message: Message, buffer: Bytes): void => {
    this.calls.received(carrier, message, buffer);
    if (message.page === undefined || message.page === this.around.page) this.pulse.alive();
  };

  private told(op: string, message: Message): void {
    if (op === "view") this.show(message.view);
  }

  private answered({ ok }: Answer): void {
    if (isMessage(ok.view)) this.show(ok.view);
  }

  private greet(): void {
    const { browser, language, server } = this.around;
    const fields = {
      base: server?.base ?? "",
      save: browser.showSaveFilePicker !== undefined,
      lang: language,
    };
    this.calls.ask("hello", fields).then(
      (answer) => this.answered(answer),
      // A kernel may ignore the greeting and handle the rest.
      () => undefined,
    );
  }

  private async openLine(): Promise<void> {
    const open = await this.around.findLine().catch(() => null);
    if (!open || this.closed) return;
    const events: LineEvents = {
      came: (line) => {
        this.lineIsUp = true;
        this.calls.came(line);
        // So that the kernel knows which page has the line.
        this.greet();
        this.notify();
      },
      lost: (line) => {
        this.lineIsUp = false;
        this.calls.lost(line);
        this.notify();
      },
      received: this.received,
    };
    this.line = new Line(open, this.around.clock, events);
    this.line.start();
  }

  // ---------------------------------------------------------------- files of the kernel

  private listSavable(): Promise<KernelFile[]> {
    if (this.savable) return this.savable;
    const asked = this.calls.ask("files").then(({ ok }) => filesOf(ok.files));
    asked.catch(() => {
      if (this.savable === asked) this.savable = null;
    });
    this.savable = asked;
    return asked;
  }

  private readonly fetch = async (file: number, offset: number, length: number, signal: AbortSignal) => {
    const { ok, buffer } = await this.calls.ask("fetch", { file, offset, length }, signal);
    return { digest: ok.digest, bytes: buffer };
  };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function filesOf(value: unknown): KernelFile[] {
  if (!Array.isArray(value)) return [];
  return value
    .filter(isMessage)
    .map(({ path, size, url }) => ({ path: text(path), size: Number(size), url: text(url) }));
}
