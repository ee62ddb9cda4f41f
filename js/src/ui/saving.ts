/** Saves to this machine: a button, the progress, and the outcome. */

import type { View } from "../types";
import { Bar } from "./bar";
import type { Desk, Part } from "./desk";
import { make, marked, plainButton, setShown, setText } from "./dom";
import { share } from "./format";
import { Name } from "./name";
import { fill } from "./strings";

export class Saving implements Part {
  readonly node = make("div", "nf-column");
  private readonly what = new Name();
  private readonly save: HTMLButtonElement;
  private readonly stop: HTMLButtonElement;
  private readonly bar: Bar;
  private readonly percent = make("span", "nf-number nf-strong");
  private readonly barRow: HTMLElement;
  private readonly amount = make("p", "nf-row nf-line");
  private readonly ended = make("p", "nf-note");
  private running: AbortController | null = null;

  constructor(private readonly desk: Desk) {
    const text = desk.text;
    this.save = plainButton(text.save, () => this.begin(), "nf-primary", "tray");
    this.stop = plainButton(text.commands.cancel, () => this.running?.abort());
    this.bar = new Bar(text.saving, "nf-bar-all");
    this.barRow = make("div", "nf-row", this.bar.node, this.percent);
    marked(this.ended, { "aria-live": "polite" });
    this.node.append(this.what.node, this.barRow, this.amount);
    this.node.append(make("div", "nf-row", this.save, this.stop, this.ended));
    desk.signal.addEventListener("abort", () => this.running?.abort(), { once: true });
  }

  update(view: View): void {
    const transfer = view.transfer;
    const able = view.kind === "download" || transfer?.can.includes("save") === true;
    setShown(this.node, able || this.running !== null);
    setShown(this.what.node, view.kind === "download");
    this.what.show(view.what);
    const running = this.running !== null;
    setShown(this.save, !running && this.desk.reached);
    setShown(this.stop, running);
    setShown(this.barRow, running);
    setShown(this.amount, running);
  }

  private async begin(): Promise<void> {
    if (this.running) return;
    const { desk } = this;
    desk.trouble.clear();
    setText(this.ended, "");
    this.running = new AbortController();
    this.progress(0, 0);
    desk.redraw();
    try {
      const how = await desk.ferry.save((done, total) => this.progress(done, total), this.running.signal);
      setText(
        this.ended,
        { saved: desk.text.saved, downloading: desk.text.browserSaves, dismissed: "" }[how],
      );
    } catch (error) {
      if (!this.running.signal.aborted) desk.trouble.show(error);
    } finally {
      this.running = null;
      if (!desk.signal.aborted) desk.redraw();
    }
  }

  private progress(done: number, total: number): void {
    const { format, text } = this.desk;
    const percent = share(done, total, false);
    const words = fill(text.of, { part: format.size(done), all: format.size(total) });
    this.bar.show(percent, `${format.percent(percent)}, ${words}`, 0, 0, total > 0 ? done / total : 0);
    setText(this.percent, format.percent(percent));
    setText(this.amount, total > 0 ? words : "");
  }
}
