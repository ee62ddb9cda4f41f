/** A file's name in little space: the middle is left out, the title has all of it. */

import { make, setAttribute, setText } from "./dom";
import { visible } from "./format";

// Characters kept at the end, where the number or the extension is.
const TAIL = 12;

/** Letters that do not join, so a name of them may be cut anywhere. */
const SIMPLE = /^[\x20-\u024f]*$/;

export class Name {
  readonly node = make("bdi", "nf-name");
  private readonly head = make("span", "nf-head");
  private readonly tail = make("span", "nf-tail");

  constructor(name = "") {
    this.node.append(this.head, this.tail);
    if (name) this.show(name);
  }

  show(name: string): void {
    const shown = visible(name);
    const cut = shown.length > 2 * TAIL && SIMPLE.test(shown) ? shown.length - TAIL : shown.length;
    setText(this.head, shown.slice(0, cut));
    setText(this.tail, shown.slice(cut));
    setAttribute(this.node, "title", shown);
  }
}
