/** A ferry without a kernel: it remembers what it was told, and answers when the test says so. */

import type { Ferry, KernelFolder, Picked, Row, TransferView, View } from "../../src/types";
import { drawCard } from "../../src/ui/card";

export function transferView(some: Partial<TransferView> = {}): TransferView {
  return {
    id: "t1",
    role: "send",
    state: "transferring",
    reason: "",
    title: "trips.parquet",
    files: 1,
    total: 1000,
    sent: 600,
    verified: 450,
    durable: 300,
    reused: 0,
    rate: 100,
    eta: 5,
    via: "direct",
    via_since: null,
    wrong: 0,
    has_code: false,
    needs_files: false,
    can: ["pause", "cancel"],
    rows: [["trips.parquet", 1000, 450, 300]],
    seconds: 0,
    digest: "",
    ...some,
  };
}

export function viewOf(transfer: Partial<TransferView> | null, some: Partial<View> = {}): View {
  const whole = transfer && transferView(transfer);
  const phase = whole ? "transfer" : "pick";
  return { seq: 1, kind: "send", phase, agent: "nbferry/0", what: "", transfer: whole, ...some };
}

/** What a test answers later. */
export class Later<T> {
  resolve: (value: T) => void = () => {};
  reject: (error: unknown) => void = () => {};
  readonly promise = new Promise<T>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });
}

export class FakeFerry implements Ferry {
  reach: Ferry["reach"] = { by: "line" };
  remembered = false;
  told: string[] = [];
  offered: Picked[] = [];
  answer: Promise<void> = Promise.resolve();
  codeAnswer: Promise<{ code: string; note: string }> = Promise.resolve({
    code: "7-walnut-ribbon",
    note: "",
  });
  allRows: Row[] = [];
  folders: Record<string, KernelFolder> = {};
  saving: Ferry["save"] = async () => "saved";
  private readonly watchers = new Set<() => void>();

  constructor(public view: View) {}

  get watched(): number {
    return this.watchers.size;
  }

  watch(changed: () => void): () => void {
    this.watchers.add(changed);
    return () => this.watchers.delete(changed);
  }

  show(view: View): void {
    this.view = { ...view, seq: this.view.seq + 1 };
    for (const changed of this.watchers) changed();
  }

  /** Another view of the same transfer. */
  change(some: Partial<TransferView>): void {
    this.show({ ...this.view, transfer: this.view.transfer && { ...this.view.transfer, ...some } });
  }

  command(name: string, reason = ""): Promise<void> {
    return this.tell(reason ? `${name} ${reason}` : name);
  }

  code(): Promise<{ code: string; note: string }> {
    this.told.push("code");
    return this.codeAnswer;
  }

  async rows(first: number, count: number): Promise<Row[]> {
    this.told.push(`rows ${first} ${count}`);
    return this.allRows.slice(first, first + count);
  }

  async list(folder: string | null): Promise<KernelFolder> {
    this.told.push(`list ${folder}`);
    const found = this.folders[folder ?? ""];
    if (!found) throw new Error("There is no such folder.");
    return found;
  }

  send(paths: string[]): Promise<void> {
    return this.tell(`send ${paths.join(" ")}`);
  }

  receive(code: string): Promise<void> {
    return this.tell(`receive ${code}`);
  }

  offer(files: Picked[]): Promise<void> {
    this.offered = files;
    return this.tell(`offer ${files.map(({ path }) => path).join(" ")}`);
  }

  lendAgain(): Promise<void> {
    return this.tell("lend");
  }

  save(progress: (done: number, total: number) => void, signal: AbortSignal) {
    this.told.push("save");
    return this.saving(progress, signal);
  }

  private tell(what: string): Promise<void> {
    this.told.push(what);
    return this.answer;
  }
}

/** A drawn card, and how a person finds things on it. */
export class Drawn {
  readonly root: HTMLElement;
  readonly close: () => void;

  constructor(readonly ferry: FakeFerry) {
    const el = document.createElement("div");
    document.body.append(el);
    this.close = drawCard(el, ferry);
    this.root = this.one(el, "section.nbferry");
  }

  /** The text that is to be seen. */
  get text(): string {
    return [...textsOf(this.root)].join(" ").replace(/\s+/g, " ");
  }

  one(within: ParentNode, selector: string): HTMLElement {
    const found = within.querySelector<HTMLElement>(selector);
    if (!found) throw new Error(`no ${selector}`);
    return found;
  }

  role(role: string, name?: string): HTMLElement {
    const found = [...this.root.querySelectorAll<HTMLElement>(`[role=${role}]`)].filter(isSeen);
    const named =
      name === undefined ? found[0] : found.find((one) => one.getAttribute("aria-label") === name);
    if (!named) throw new Error(`no ${role} ${name}`);
    return named;
  }

  /** The names of the buttons that are to be seen, in their order. */
  get buttons(): string[] {
    return this.allButtons().map(nameOf);
  }

  button(name: string): HTMLButtonElement {
    const found = this.allButtons().find((button) => nameOf(button) === name);
    if (!found) throw new Error(`no button ${name} among ${this.buttons}`);
    return found;
  }

  click(name: string): void {
    this.button(name).click();
  }

  private allButtons(): HTMLButtonElement[] {
    return [...this.root.querySelectorAll("button")].filter(isSeen);
  }
}

function nameOf(button: HTMLElement): string {
  return button.getAttribute("aria-label") ?? button.textContent ?? "";
}

function isSeen(node: Element): boolean {
  return node.closest("[hidden]") === null;
}

function* textsOf(node: Node): Iterable<string> {
  if (node instanceof HTMLElement && (node.hidden || node.getAttribute("role") === "status")) return;
  if (node.nodeType === Node.TEXT_NODE) yield node.textContent ?? "";
  const inner = node instanceof HTMLElement && ["BDI", "P", "BUTTON"].includes(node.tagName);
  if (inner && !node.querySelector("[hidden]")) yield node.textContent ?? "";
  else for (const child of node.childNodes) yield* textsOf(child);
}

/** Let everything that waits for an answer take it in. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}
