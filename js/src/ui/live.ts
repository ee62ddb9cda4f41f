/** The live region: announces changes in a few words, but not every percent. */

import type { State, TransferView, View } from "../types";
import type { Desk, Part } from "./desk";
import { make, marked } from "./dom";
import { isolated, share } from "./format";
import { fill } from "./strings";

const QUARTERS = [75, 50, 25];
const RUNNING: State[] = ["transferring", "verifying", "writing"];

export class Live implements Part {
  readonly node = make("div", "nf-unseen");
  private last: TransferView | null = null;
  private begun = false;
  private quarter = 0;

  constructor(private readonly desk: Desk) {
    marked(this.node, { role: "status", "aria-live": "polite" });
  }

  update(view: View): void {
    const now = view.transfer;
    const news = now && this.begun ? this.news(this.last, now) : "";
    // The state when the card appears is not news.
    if (now && !this.begun) this.quarter = reached(now);
    this.begun = true;
    this.last = now;
    if (news && now) {
      const words = fill(news, this.values(now));
      this.node.textContent = fill(this.desk.text.newsOf, { what: isolated(now.title), news: words });
    }
  }

  private news(before: TransferView | null, now: TransferView): string {
    const text = this.desk.text.news;
    const quarter = reached(now);
    const further = quarter > this.quarter;
    this.quarter = quarter;
    if (before?.state !== now.state) {
      const words = this.change(before?.state, now);
      if (words) return words;
    }
    return further && now.state === "transferring" ? text.part : "";
  }

  private change(before: State | undefined, now: TransferView): string {
    const text = this.desk.text.news;
    const state = now.state;
    if (state === "transferring") {
      if (before === "paused") return text.resumed;
      return before && RUNNING.includes(before) ? "" : text.started;
    }
    if (state === "offered") return now.role === "receive" ? text.offered : "";
    return state in text ? text[state as keyof typeof text] : "";
  }

  private values(now: TransferView): Record<string, string> {
    return {
      size: this.desk.format.size(now.total),
      percent: this.desk.format.percent(this.quarter),
      reason: now.reason,
    };
  }
}

function reached(now: TransferView): number {
  const percent = share(now.verified, now.total, false);
  return QUARTERS.find((quarter) => percent >= quarter) ?? 0;
}
