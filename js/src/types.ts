/** What the parts of the page's half say to each other. nbferry.widget (Python) describes the messages themselves. */

export type Role = "send" | "receive" | "upload";
export type Kind = Role | "download";
export type Via = "direct" | "webrtc" | "relay" | "browser";
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

/** One file; sizes in bytes. */
export type Row = [name: string, size: number, verified: number, durable: number];

/** One transfer at one instant: sizes in bytes, rate in bytes per second, eta and seconds in seconds. */
export interface TransferView {
  id: string;
  role: Role;
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
  /** The path, "" before there is one. */
  via: Via | "";
  /** When the transfer switched to this path, in seconds since 1970; null if it is the first. */
  via_since: number | null;
  wrong: number;
  has_code: boolean;
  needs_files: boolean;
  can: Command[];
  rows: Row[];
  seconds: number;
  digest: string;
}

/** What a card shows: the synced trait, which only Python writes. */
export interface View {
  seq: number;
  kind: Kind;
  phase: "pick" | "transfer";
  agent: string;
  what: string;
  transfer: TransferView | null;
}

/** The refusal of a request by the kernel or the browser: one sentence, and a hint on what to do. */
export class Refusal extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint = "",
  ) {
    super(message);
  }
}

/** A file of the kernel, as the file list shows it. */
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

/** A file or folder of this machine that a person picked. `handle` survives a reload, in browsers that have handles. */
export interface Picked {
  path: string;
  /** null for a folder */
  file: File | null;
  handle?: FileSystemHandle;
}

/** How the kernel can be reached now. */
export interface Reach {
  /** "line": through the server, at any time. "comm": while no cell runs. "none": the kernel does not answer. */
  by: "line" | "comm" | "none";
}

/** The model's half, shared by all views of a model: everything that a view may do. */
export interface Ferry {
  /** The newest view. */
  readonly view: View;
  readonly reach: Reach;
  /** Calls `changed` after each new view; returns a function that unsubscribes. */
  watch(changed: () => void): () => void;

  /** Resolves when the kernel has answered; rejects with Refusal. */
  command(name: Exclude<Command, "save">, reason?: string): Promise<void>;
  code(): Promise<{ code: string; note: string }>;
  rows(first: number, count: number): Promise<Row[]>;
  list(folder: string | null): Promise<KernelFolder>;
  send(paths: string[]): Promise<void>;
  receive(code: string): Promise<void>;

  /** Offer files of this machine, or provide the same ones again (`needs_files`). */
  offer(files: Picked[]): Promise<void>;
  /** Whether one click can provide the files of an earlier visit again (kept handles). */
  readonly remembered: boolean;
  /** Provide them again. Call it from a click, because the browser asks for permission. */
  lendAgain(): Promise<void>;

  /** Save files to this machine; call it from a click. `progress` gets the bytes so far and in all. */
  save(
    progress: (done: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<"saved" | "downloading" | "dismissed">;
}
