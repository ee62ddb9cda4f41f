/** Accepts or rejects an offer; the card's list of files shows it. */

import type { View } from "../types";
import { commandButton } from "./commands";
import type { Desk, Part } from "./desk";
import { make, setShown } from "./dom";

export class Offer implements Part {
  readonly node = make("div", "nf-row");
  private readonly reason = make("input", "nf-input");
  private readonly accept: HTMLButtonElement;
  private readonly reject: HTMLButtonElement;

  constructor(private readonly desk: Desk) {
    this.reason.type = "text";
    this.reason.maxLength = 200;
    this.reason.placeholder = desk.text.reasonHint;
    this.reason.setAttribute("aria-label", desk.text.reason);
    this.accept = commandButton(desk, "accept", "nf-primary");
    this.reject = commandButton(desk, "reject", "", () => this.reason.value.trim());
    this.reason.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) this.reject.click();
    });
    this.node.append(this.accept, this.reject, this.reason);
  }

  update(view: View): void {
    const can = this.desk.reached ? (view.transfer?.can ?? []) : [];
    setShown(this.node, can.includes("accept") || can.includes("reject"));
    setShown(this.accept, can.includes("accept"));
    setShown(this.reject, can.includes("reject"));
    setShown(this.reason, can.includes("reject"));
  }
}
