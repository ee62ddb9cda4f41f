/** The view before the first one arrives, and checks of views. */

import { isMessage } from "./frames";
import type { State, View } from "./types";

export const NO_VIEW: View = {
  seq: -1,
  kind: "receive",
  phase: "pick",
  agent: "nbferry",
  what: "",
  transfer: null,
};

const FINAL: ReadonlySet<State> = new Set(["done", "failed", "rejected", "cancelled", "expired"]);
const RESTING: ReadonlySet<State> = new Set(["waiting", "offered", "paused"]);

/** A view that came from the kernel; null for anything else. */
export function asView(value: unknown): View | null {
  if (!isMessage(value) || typeof value.seq !== "number") return null;
  return { ...NO_VIEW, ...(value as Partial<View>) };
}

/** Whether no more views will come. */
export function isFinal({ transfer }: View): boolean {
  return transfer !== null && FINAL.has(transfer.state);
}

/** Whether a long silence is normal. */
export function isResting({ transfer }: View): boolean {
  return transfer === null || RESTING.has(transfer.state);
}

/** Whether there are files to save. */
export function canSave({ kind, transfer }: View): boolean {
  return kind === "download" || transfer?.can.includes("save") === true;
}
