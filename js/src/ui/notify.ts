/** A browser notification at the end, for a person who looks elsewhere meanwhile. */

import type { State, View } from "../types";
import type { Desk, Part } from "./desk";
import { make, plainButton, setShown } from "./dom";

const FINAL: State[] = ["done", "failed", "rejected", "cancelled", "expired"];

export class Notify implements Part {
  readonly node = make("span", "nf-notify");
  private readonly button: HTMLButtonElement;
  private readonly on: HTMLElement;
  private wanted = false;

  constructor(private readonly desk: Desk) {
    this.button = plainButton(desk.text.notify, () => this.ask(), "nf-quiet");
    this.on = make("span", "nf-note", desk.text.notifyOn);
    this.node.append(this.button, this.on);
  }

  update(view: View): void {
    const state = view.transfer?.state;
    const over = state !== undefined && FINAL.includes(state);
    if (over && this.wanted) this.tell(view, state);
    const going = state !== undefined && !over && this.desk.reached;
    setShown(this.button, going && !this.wanted && possible());
    setShown(this.on, going && this.wanted);
  }

  private async ask(): Promise<void> {
    this.desk.trouble.clear();
    this.wanted = (await Notification.requestPermission()) === "granted";
    if (!this.desk.signal.aborted) this.desk.redraw();
  }

  private tell(view: View, state: State): void {
    this.wanted = false;
    if (!document.hidden || !view.transfer) return;
    const { title, id, reason } = view.transfer;
    try {
      new Notification(title, {
        body: [this.desk.text.states[state], reason].filter(Boolean).join(": "),
        tag: id,
      });
    } catch {
      // Android's browsers have the class, but only a service worker may use it.
    }
  }
}

function possible(): boolean {
  return globalThis.isSecureContext && "Notification" in globalThis && Notification.permission !== "denied";
}
