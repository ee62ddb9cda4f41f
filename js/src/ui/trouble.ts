/** The last error: one sentence, a hint, and a button to dismiss it. */

import { Refusal } from "../types";
import { bareButton, icon, make, marked, setShown, setText } from "./dom";
import type { Strings } from "./strings";

export class Trouble {
  readonly node = make("div", "nf-trouble");
  private readonly message = make("strong");
  private readonly hint = make("span");
  private readonly box: HTMLElement;

  constructor(private readonly text: Strings) {
    const dismiss = bareButton("nf-bare", () => this.clear(), icon("cross"));
    marked(dismiss, { "aria-label": text.dismiss });
    this.box = make(
      "div",
      "nf-box nf-bad",
      icon("warn"),
      make("p", "", this.message, " ", this.hint),
      dismiss,
    );
    this.box.hidden = true;
    // Present before its content, or screen readers would not announce it.
    marked(this.node, { role: "alert" });
    this.node.append(this.box);
  }

  show(error: unknown): void {
    const message = error instanceof Error ? error.message : "";
    this.put(message || this.text.broken, error instanceof Refusal ? error.hint : "");
  }

  clear(): void {
    this.put("", "");
  }

  private put(message: string, hint: string): void {
    setText(this.message, message);
    setText(this.hint, hint);
    setShown(this.box, message !== "");
  }
}
