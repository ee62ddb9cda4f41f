/** What the parts of the page's half say to each other. The messages themselves are described in nbferry.widget (Python). */

export type Kind = "send" | "receive" | "upload" | "download";
export type Command = "pause" | "resume" | "cancel" | "accept" | "reject" | "save";
export type State =
  | "waiting"
  | "connecting"
  | "offered"
  | "hashing"
  | "transferring"
  | "paused"
  | "verifying"
  | "writing"
  | "done"
  | "failed"
  | "rejected"
  | "cancelled"
  | "expired";

/** name, size, verified bytes, durable bytes */
export type Row = [name: string, size: number, verified: number, durable: number];

/** One transfer at one instant; sizes in bytes, rate in bytes per second, eta and seconds in seconds. */
export interface TransferView {
  id: string;
  role: "send" | "receive" | "upload";
  state: State;
  reason: string;
  title: string;
  files: number;
  total: number;
  sent: number;
  verified: number;
  durable: number;
  reused: number;
  rate: number;
  eta: number | null;
  via: string;
  /** When the path changed to that, in seconds since 1970; null if it is the first. */
  via_since: number | null;
  wrong: number;
  has_code: boolean;
  needs_files: boolean;
  can: Command[];
  rows: Row[];
  seconds: number;
  digest: string;
}

/** What a card shows: the one synced trait, written by Python alone. */
export interface View {
  seq: number;
  kind: Kind;
  phase: "pick" | "transfer";
  agent: string;
  what: string;
  transfer: TransferView | null;
}

/** What the kernel, or the browser, said against a request: one sentence, and what to do about it. */
export class Refusal extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint = "",
  ) {
    super(message);
  }
}

/** A file of the kernel, as its file list shows it. */
export interface KernelEntry {
  name: string;
  path: string;
  size: number;
  mtime: number;
  folder: boolean;
}

export interface KernelFolder {
  folder: string;
  parent: string | null;
  entries: KernelEntry[];
  more: number;
}

/** A file or folder of this machine that a person picked; `handle` outlives a reload where the browser has such. */
export interface Picked {
  path: string;
  file: File | null; // null: a folder
  handle?: FileSystemHandle;
}

/** How the kernel can be reached just now. */
export interface Reach {
  /** "line": through the server, whatever the kernel does. "comm": when no cell runs. "none": nobody answers. */
  by: "line" | "comm" | "none";
}

/** The model's half: one for each model, shared by all its views. Everything a view may do. */
export interface Ferry {
  /** The newest view; listeners are called on each. Returns what ends that. */
  readonly view: View;
  readonly reach: Reach;
  watch(changed: () => void): () => void;

  /** pause, resume, cancel, accept, reject. Resolves when the kernel has answered; rejects with Refusal. */
  command(name: Exclude<Command, "save">, reason?: string): Promise<void>;
  code(): Promise<{ code: string; note: string }>;
  rows(first: number, count: number): Promise<Row[]>;
  list(folder: string | null): Promise<KernelFolder>;
  send(paths: string[]): Promise<void>;
  receive(code: string): Promise<void>;

  /** Offer files of this machine, or lend the same ones again (`needs_files`). */
  offer(files: Picked[]): Promise<void>;
  /** Whether files of an earlier visit can be had again by one click (kept handles). */
  readonly remembered: boolean;
  /** Lend them again; asks the browser's permission, so call it from a click. */
  lendAgain(): Promise<void>;

  /** Write what there is to save to this machine; call it from a click. `progress`: bytes so far and in all. */
  save(
    progress: (done: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<"saved" | "downloading" | "dismissed">;
}
