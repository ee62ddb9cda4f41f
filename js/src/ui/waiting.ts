/** The sentence beside the buttons that says when an unanswered command takes effect. */

import type { Desk } from "./desk";
import { make, setShown, setText } from "./dom";

// Milliseconds after which a person wants to know why nothing happens.
const PATIENCE = 1500;

export class Waiting {
  readonly node = make("p", "nf-note nf-later");
  private readonly late = new Set<symbol>();

  constructor(private readonly desk: Desk) {
    this.node.hidden = true;
  }

  /** Note that a command was sent; call the returned function when it is answered. */
  begin(): () => void {
    const command = Symbol();
    const timer = setTimeout(() => {
      this.late.add(command);
      this.update();
    }, PATIENCE);
    const end = () => {
      clearTimeout(timer);
      if (this.late.delete(command)) this.update();
    };
    this.desk.signal.addEventListener("abort", end, { once: true });
    return end;
  }

  /** Over a line the kernel acts at once; if it does not answer at all, the card says so elsewhere. */
  update(): void {
    const late = this.late.size > 0 && this.desk.ferry.reach.by === "comm";
    setText(this.node, late ? this.desk.text.later : "");
    setShown(this.node, late);
  }
}
