/** The files of a transfer, each with its bar: the first come with the view, the rest page by page. */

import type { Row, TransferView, View } from "../types";
import { Bar } from "./bar";
import { type Desk, isBusy, type Part } from "./desk";
import { make, marked, plainButton, setAttribute, setShown, setText } from "./dom";
import { share, visible } from "./format";
import { Name } from "./name";
import { hasProgress } from "./overall";
import { fill } from "./strings";

const PAGE = 200;
// Rows visible without scrolling.
const FIT = 11;
// Milliseconds between two requests for pages outside the view.
const REFRESH = 2000;

export class Rows implements Part {
  readonly node = make("div", "nf-column");
  private readonly list = make("ul", "nf-list");
  private readonly more: HTMLButtonElement;
  private readonly lines: Line[] = [];
  private extra: Row[] = [];
  // Rows that come with the view.
  private own = 0;
  // The page to request next.
  private next = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private transfer: TransferView | null = null;

  constructor(private readonly desk: Desk) {
    // Safari forgets the role of a list without bullets.
    marked(this.list, { role: "list", "aria-label": desk.text.fileList });
    this.more = plainButton("", () => this.load(), "nf-quiet");
    this.node.append(this.list, this.more);
    desk.signal.addEventListener("abort", () => clearTimeout(this.timer), { once: true });
  }

  update(view: View): void {
    this.transfer = view.transfer;
    this.draw();
    if (this.transfer && this.extra.length > 0) this.watch(this.transfer);
  }

  private draw(): void {
    const transfer = this.transfer;
    const rows = transfer ? transfer.rows : [];
    // The title names a single file already.
    const told = transfer?.files === 1 && transfer.role !== "receive" && !hasProgress(transfer);
    setShown(this.node, rows.length > 0 && !told);
    if (!transfer) return;
    this.own = rows.length;
    const all = [...rows, ...this.extra];
    const shown = hasProgress(transfer);
    all.forEach((row, at) => {
      this.line(at).show(row, transfer, shown);
    });
    for (const line of this.lines.splice(all.length)) line.node.remove();
    // A scrolling list must be reachable by keyboard.
    setAttribute(this.list, "tabindex", all.length > FIT ? "0" : null);
    const left = transfer.files - all.length;
    setShown(this.more, left > 0);
    const { text, format } = this.desk;
    setText(this.more, isBusy(this.more) ? text.loading : format.plural(text.moreFiles, left));
  }

  private line(at: number): Line {
    const there = this.lines[at];
    if (there) return there;
    const line = new Line(this.desk);
    this.lines.push(line);
    this.list.append(line.node);
    return line;
  }

  private async load(): Promise<void> {
    const first = this.own + this.extra.length;
    const loaded = this.desk.run(this.more, async () => {
      const rows = await this.desk.ferry.rows(first, PAGE);
      if (first === this.own + this.extra.length) this.extra.push(...rows);
    });
    this.draw();
    await loaded;
    this.draw();
    if (this.more.hidden) this.list.focus();
  }

  /** Request one page after the other, slowly, while the transfer moves. */
  private watch(transfer: TransferView): void {
    if (transfer.state === "done") {
      this.extra = this.extra.map(([name, size]) => [name, size, size, size]);
      this.draw();
    } else if (this.timer === undefined && hasProgress(transfer)) {
      this.timer = setTimeout(() => void this.refresh(), REFRESH);
    }
  }

  private async refresh(): Promise<void> {
    const at = this.next * PAGE < this.extra.length ? this.next * PAGE : 0;
    this.next = at / PAGE + 1;
    const page = this.extra.slice(at, at + PAGE);
    if (page.some(([, size, , durable]) => durable < size)) {
      try {
        const rows = await this.desk.ferry.rows(this.own + at, page.length);
        this.extra.splice(at, rows.length, ...rows);
      } catch {
        // The page stays as it was; the next view asks again.
      }
    }
    this.timer = undefined;
    if (!this.desk.signal.aborted) this.draw();
  }
}

class Line {
  readonly node = make("li", "nf-file");
  private readonly name = new Name();
  private readonly bar = new Bar("");
  private readonly percent = make("span", "nf-number");
  private readonly size = make("span", "nf-number nf-dim");

  private drawn = "";

  constructor(private readonly desk: Desk) {
    this.node.append(this.name.node, this.bar.node, this.percent, this.size);
  }

  show([name, size, verified, durable]: Row, transfer: TransferView, progress: boolean): void {
    const state = [progress, transfer.state === "done", size, verified, durable, name].join();
    // There may be thousands of rows.
    if (state === this.drawn) return;
    this.drawn = state;
    const { format, text } = this.desk;
    const percent = share(verified, size, transfer.state === "done");
    this.name.show(name);
    this.bar.label(visible(name));
    const of = (part: number) => (size > 0 ? part / size : percent / 100);
    const words = fill(text.percentOf, { percent: format.percent(percent), name: visible(name) });
    this.bar.show(percent, words, 0, of(verified), of(durable));
    setText(this.size, size > 0 ? format.size(size) : text.empty);
    setText(this.percent, size > 0 ? format.percent(percent) : "");
    setShown(this.bar.node, progress);
    setShown(this.percent, progress);
  }
}
