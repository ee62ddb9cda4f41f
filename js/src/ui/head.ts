/** The card's first lines: its content, its state, the other side. */

import type { State, TransferView, View } from "../types";
import type { Desk, Part } from "./desk";
import { icon, make, type Shape, setAttribute, setIcon, setShown, setText } from "./dom";
import { Name } from "./name";

const SIGNS: Record<State, Shape> = {
  waiting: "wait",
  connecting: "wait",
  offered: "wait",
  hashing: "wait",
  transferring: "up",
  paused: "pause",
  verifying: "wait",
  writing: "wait",
  done: "check",
  failed: "warn",
  rejected: "cross",
  cancelled: "cross",
  expired: "warn",
};

export class Head implements Part {
  readonly node = make("header");
  private readonly kind = make("span", "nf-dim");
  private readonly title = new Name();
  private readonly facts = make("span", "nf-dim");
  private readonly sign = icon("wait");
  private readonly word = make("span");
  private readonly chip = make("span", "nf-row nf-chip", this.sign, this.word);
  private readonly story = make("p");

  constructor(private readonly desk: Desk) {
    this.title.node.classList.add("nf-strong");
    const title = make("div", "nf-row nf-title", this.kind, this.title.node, this.facts);
    this.node.append(make("div", "nf-row nf-top", title, this.chip), this.story);
  }

  update(view: View): void {
    const transfer = view.transfer;
    setShown(this.chip, transfer !== null);
    setShown(this.story, transfer !== null && this.desk.reached);
    setShown(this.facts, transfer !== null && transfer.total > 0);
    setText(this.kind, this.desk.text.kinds[transfer?.role ?? view.kind]);
    if (transfer) this.showTransfer(transfer);
    else {
      const { sendTitle, receiveTitle, uploadTitle, saveTitle } = this.desk.text;
      const titles = { send: sendTitle, receive: receiveTitle, upload: uploadTitle, download: saveTitle };
      this.title.show(titles[view.kind]);
    }
    setShown(this.kind, transfer !== null);
  }

  private showTransfer(transfer: TransferView): void {
    const { text, format } = this.desk;
    this.title.show(transfer.title);
    setText(this.facts, format.size(transfer.total));
    const doing = this.desk.doing;
    setText(this.word, doing ? text.doing[doing] : text.states[transfer.state]);
    setIcon(this.sign, this.shape(transfer));
    setAttribute(this.chip, "data-state", transfer.state);
    // The state already says "paused".
    const reason = transfer.reason === transfer.state ? "" : sentence(transfer.reason);
    setText(this.story, reason || text.stories[transfer.role][transfer.state]);
    this.story.classList.toggle("nf-dim", reason === "");
  }

  private shape(transfer: TransferView): Shape {
    return transfer.state === "transferring" && transfer.role === "receive" ? "down" : SIGNS[transfer.state];
  }
}

/** A reason as a full sentence; some reasons come as half of one. */
function sentence(reason: string): string {
  const trimmed = reason.trim();
  const end = /[.!?…:)\]]$/.test(trimmed) ? "" : ".";
  return trimmed && `${trimmed.charAt(0).toLocaleUpperCase()}${trimmed.slice(1)}${end}`;
}
