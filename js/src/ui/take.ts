/** Before receiving: a field for the code. */

import type { View } from "../types";
import type { Desk, Part } from "./desk";
import { freshId, make, marked, plainButton, setShown } from "./dom";

/** People paste the code, or the whole call from the sender's card. */
const CALL = /receive\(\s*(["'])(.+?)\1/;

export class Take implements Part {
  readonly node = make("form", "nf-column");
  private readonly input = make("input", "nf-input");
  private readonly button: HTMLButtonElement;

  constructor(private readonly desk: Desk) {
    const text = desk.text;
    this.input.id = freshId();
    this.input.type = "text";
    this.input.autocomplete = "off";
    this.input.spellcheck = false;
    this.button = plainButton(text.receive, () => this.receive(), "nf-primary");
    const label = make("label", "nf-dim", text.code);
    label.htmlFor = this.input.id;
    const hint = make("p", "nf-note", text.receiveHint);
    hint.id = freshId();
    marked(this.input, { autocapitalize: "none", "aria-describedby": hint.id });
    this.node.append(label, make("div", "nf-row", this.input, this.button), hint);
    this.node.addEventListener("submit", (event) => event.preventDefault());
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      this.receive();
    });
  }

  update(view: View): void {
    setShown(this.node, view.kind === "receive" && view.phase === "pick" && this.desk.reached);
  }

  private receive(): void {
    const typed = this.input.value.trim();
    const code = CALL.exec(typed)?.[2] ?? typed;
    if (!code) {
      this.input.focus();
      return;
    }
    const { ferry } = this.desk;
    void this.desk.run(
      this.button,
      () => ferry.receive(code),
      () => ferry.view.phase !== "pick",
    );
  }
}
