/** The sentence beside the buttons that says when an unanswered command will act. */

import type { Desk } from "./desk";
import { make, setShown, setText } from "./dom";

const PATIENCE = 1500; // ms after which a person wants to know why nothing happens

export class Waiting {
  readonly node = make("p", "nf-note nf-later");
  private readonly late = new Set<symbol>();

  constructor(private readonly desk: Desk) {
    this.node.hidden = true;
  }

  /** A command went out; call what this returns when it is answered. */
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

  /** Through a line the kernel acts whatever it does; where nobody answers at all the card says so elsewhere. */
  update(): void {
    const late = this.late.size > 0 && this.desk.ferry.reach.by === "comm";
    setText(this.node, late ? this.desk.text.later : "");
    setShown(this.node, late);
  }
}
