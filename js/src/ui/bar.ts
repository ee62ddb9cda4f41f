/** A progress bar with overlapping parts: sent, verified, durable. */

import { make, marked, setAttribute, setStyle } from "./dom";

export class Bar {
  readonly node = make("div", "nf-bar");
  private readonly layers: HTMLElement[];

  constructor(label: string, style = "") {
    this.layers = ["nf-sent", "nf-verified", "nf-durable"].map((name) => make("span", name));
    this.node.append(...this.layers);
    if (style) this.node.classList.add(style);
    marked(this.node, { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" });
    this.label(label);
  }

  label(label: string): void {
    setAttribute(this.node, "aria-label", label);
  }

  /** Percent for screen readers, fractions for the eye. */
  show(percent: number, words: string, sent: number, verified: number, durable: number): void {
    setAttribute(this.node, "aria-valuenow", String(percent));
    setAttribute(this.node, "aria-valuetext", words);
    [sent, verified, durable].forEach((part, at) => {
      const layer = this.layers[at];
      if (layer) setStyle(layer, "width", `${Math.min(100, Math.max(0, part * 100)).toFixed(1)}%`);
    });
  }
}
