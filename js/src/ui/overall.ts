/** The progress of the whole transfer: one bar, and the same in words. */

import type { State, TransferView, View } from "../types";
import { Bar } from "./bar";
import type { Desk, Part } from "./desk";
import { make, setAttribute, setShown, setText } from "./dom";
import { isolated, share } from "./format";
import { fill } from "./strings";

const NOT_BEGUN: State[] = ["waiting", "connecting", "offered"];
const ENDED_EARLY: State[] = ["failed", "rejected", "cancelled", "expired"];

/** Whether there is progress to show: some was made, or is being made. */
export function hasProgress(transfer: TransferView): boolean {
  if (transfer.verified > 0 || transfer.state === "done") return true;
  return transfer.files > 0 && ![...NOT_BEGUN, ...ENDED_EARLY].includes(transfer.state);
}

export class Overall implements Part {
  readonly node = make("div", "nf-column");
  private readonly bar: Bar;
  private readonly percent = make("span", "nf-number nf-strong");
  private readonly facts = make("p", "nf-row nf-line");
  private readonly amounts = make("p", "nf-row nf-line nf-note");
  private readonly parts: Record<"sent" | "verified" | "durable" | "reused", HTMLElement>;
  private readonly digest = make("span");

  constructor(private readonly desk: Desk) {
    const text = desk.text;
    this.bar = new Bar(text.all, "nf-bar-all");
    this.parts = {
      durable: this.amount("durable", text.durable, text.durableTip),
      verified: this.amount("verified", text.verified, text.verifiedTip),
      sent: this.amount("sent", text.sent, text.sentTip),
      reused: this.amount("reused", text.reused, text.reusedTip),
    };
    this.amounts.append(this.digest);
    this.node.append(make("div", "nf-row", this.bar.node, this.percent), this.facts, this.amounts);
  }

  update(view: View): void {
    const transfer = view.transfer;
    const shown = transfer !== null && hasProgress(transfer);
    setShown(this.node, shown);
    if (!shown || !transfer) return;
    const { state, total, sent, verified, durable } = transfer;
    const { format, text } = this.desk;
    const percent = share(verified, total, state === "done");
    setText(this.percent, format.percent(percent));
    const facts = state === "done" ? this.ending(transfer) : this.going(transfer);
    const done = fill(text.percentOf, { percent: format.percent(percent), name: isolated(transfer.title) });
    const words = [done, ...(state === "done" ? [] : this.speed(transfer))].join(", ");
    const of = (part: number) => (total > 0 ? part / total : state === "done" ? 1 : 0);
    this.bar.show(percent, words, of(sent), of(verified), of(durable));
    setParts(this.facts, facts);
    this.showAmounts(transfer);
  }

  private going(transfer: TransferView): string[] {
    const { format, text } = this.desk;
    const part = fill(text.of, { part: format.size(transfer.verified), all: format.size(transfer.total) });
    return [part, ...this.speed(transfer), this.path(transfer)];
  }

  private path(transfer: TransferView): string {
    const { format, text } = this.desk;
    const path = transfer.via ? text.paths[transfer.via] : "";
    if (transfer.via_since === null) return path;
    return fill(text.since, { path, time: format.time(transfer.via_since * 1000) });
  }

  private speed(transfer: TransferView): string[] {
    const { format, text } = this.desk;
    const parts: string[] = [];
    // The last known values are out of date.
    if (!this.desk.reached) return parts;
    if (transfer.state === "transferring" && transfer.rate > 0) parts.push(format.rate(transfer.rate));
    if (transfer.eta !== null) parts.push(fill(text.left, { time: format.duration(transfer.eta) }));
    return parts;
  }

  private ending(transfer: TransferView): string[] {
    const { format, text } = this.desk;
    const { total, seconds } = transfer;
    const parts = [fill(text.inTime, { size: format.size(total), time: format.duration(seconds) })];
    if (seconds > 0 && total > 0) parts.push(fill(text.average, { rate: format.rate(total / seconds) }));
    return [...parts, this.path(transfer), text.everyByte];
  }

  private showAmounts(transfer: TransferView): void {
    const { format, text } = this.desk;
    const done = transfer.state === "done";
    // A receiver sends nothing.
    const shows = { sent: transfer.role !== "receive", verified: true, durable: true };
    for (const name of ["sent", "verified", "durable", "reused"] as const) {
      const part = this.parts[name];
      setText(part.lastChild ?? part, format.size(transfer[name]));
      setShown(part, name === "reused" ? transfer.reused > 0 : !done && shows[name]);
    }
    const digest = done ? transfer.digest : "";
    setShown(this.digest, digest !== "");
    setText(this.digest, `${text.digest} ${digest.slice(0, 12)}…`);
    setAttribute(this.digest, "title", fill(text.digestTip, { digest }));
    setShown(this.amounts, !done || digest !== "" || transfer.reused > 0);
  }

  private amount(name: string, label: string, tip: string): HTMLElement {
    const style = name === "reused" ? "" : `nf-amount nf-amount-${name}`;
    const node = make("span", style, `${label} `, make("span", "nf-number"));
    node.title = tip;
    this.amounts.append(node);
    return node;
  }
}

/** Facts of one line, each in its own span, so that the line breaks only between them. */
export function setParts(line: HTMLElement, parts: string[]): void {
  const shown = parts.filter((part) => part !== "");
  while (line.childElementCount > shown.length) line.lastElementChild?.remove();
  shown.forEach((part, at) => {
    const there = line.children[at];
    if (there) setText(there, part);
    else line.append(make("span", at === 0 ? "nf-strong" : "", part));
  });
}
