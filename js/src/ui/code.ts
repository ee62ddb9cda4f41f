/** The code of an invitation, with how to use it. It is requested, never part of the view. */

import type { View } from "../types";
import type { Desk, Part } from "./desk";
import { make, marked, plainButton, setShown, setText } from "./dom";

// Milliseconds for which the card says that the code is copied.
const COPIED = 2500;

export class Code implements Part {
  readonly node = make("div", "nf-column nf-soft");
  private readonly code = make("code", "nbferry-code");
  private readonly use = make("code");
  private readonly help: HTMLElement;
  private readonly note = make("p", "nf-note");
  private readonly copied = marked(make("span", "nf-note"), { "aria-live": "polite" });
  private readonly copy: HTMLButtonElement;
  private asked = false;
  private value = "";
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly desk: Desk) {
    const text = desk.text;
    this.copy = plainButton(text.copy, () => this.toClipboard(), "nf-primary");
    this.help = make("p", "nf-note", text.codeUse, this.use);
    this.note.hidden = true;
    const row = make("div", "nf-row", this.code, this.copy, this.copied);
    this.node.append(row, this.help, make("p", "nf-note", text.codeFor), this.note);
    desk.signal.addEventListener("abort", () => clearTimeout(this.timer), { once: true });
  }

  update(view: View): void {
    const wanted = view.transfer?.has_code === true && view.transfer.state === "waiting";
    setShown(this.node, wanted);
    if (wanted && !this.asked && this.desk.reached) void this.ask();
    this.draw(wanted);
  }

  private async ask(): Promise<void> {
    this.asked = true;
    let refused = false;
    try {
      const { code, note } = await this.desk.ferry.code();
      this.value = code;
      setText(this.note, note);
      setShown(this.note, note !== "");
    } catch (error) {
      refused = true;
      if (!this.desk.signal.aborted) this.desk.trouble.show(error);
    }
    this.update(this.desk.ferry.view);
    // After a refusal the next view asks again.
    this.asked = !refused;
  }

  /** Remove a code from the page as soon as it is useless. */
  private draw(wanted: boolean): void {
    const { text, ferry } = this.desk;
    const coming = ferry.reach.by === "comm" ? text.codeLater : text.codeComes;
    setText(this.code, wanted ? this.value || coming : "");
    this.code.classList.toggle("nf-coming", this.value === "");
    setText(this.use, wanted ? `nbferry.receive(${JSON.stringify(this.value)})` : "");
    setShown(this.copy, this.value !== "");
    setShown(this.help, this.value !== "");
  }

  private async toClipboard(): Promise<void> {
    const text = this.desk.text;
    const done = (await copied(this.value)) || copiedByHand(this.copy, this.value);
    if (!done) getSelection()?.selectAllChildren(this.code);
    setText(this.copied, done ? text.copied : text.copyFailed);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => setText(this.copied, ""), COPIED);
  }
}

async function copied(value: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(value);
    return true;
  } catch {
    // An insecure address, a frame without permission, or a browser without it.
    return false;
  }
}

/** The old way to copy, which needs a selection in a text field. */
function copiedByHand(beside: HTMLElement, value: string): boolean {
  const field = make("textarea", "nf-unseen");
  field.value = value;
  beside.after(field);
  field.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  } finally {
    field.remove();
    beside.focus();
  }
}
