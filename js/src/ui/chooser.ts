/** A small file chooser: the kernel's folders, with a checkbox for each file and folder. */

import type { KernelEntry, KernelFolder } from "../types";
import { type Desk, isBusy } from "./desk";
import { bareButton, freshId, icon, make, marked, plainButton, setAttribute, setShown, setText } from "./dom";
import { visible } from "./format";
import { Name } from "./name";
import { fill } from "./strings";

export class Chooser {
  readonly node = make("div", "nf-column nf-chooser");
  private readonly crumbs = make("nav", "nf-row nf-crumbs");
  private readonly list = make("ul", "nf-list nf-entries");
  private readonly left = make("p", "nf-note");
  private readonly sum = make("span", "nf-note");
  private readonly send: HTMLButtonElement;
  private readonly chosen = new Map<string, KernelEntry>();
  private shown: KernelFolder | null = null;
  private lines: Entry[] = [];

  constructor(
    private readonly desk: Desk,
    closed: () => void,
  ) {
    const text = desk.text;
    this.node.hidden = true;
    marked(this.node, { role: "group", "aria-label": text.kernelFiles });
    marked(this.crumbs, { "aria-label": text.folderOf });
    marked(this.list, { role: "list" });
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.send = plainButton(text.send, () => this.go(), "nf-primary");
    const close = plainButton(text.close, closed);
    const foot = make("div", "nf-row", this.send, close, this.sum);
    this.node.append(this.crumbs, this.list, this.left, foot);
    this.tell();
  }

  async open(): Promise<void> {
    await this.show(this.shown?.folder ?? null);
  }

  private async show(folder: string | null, came: string | null = null): Promise<void> {
    if (isBusy(this.list)) return;
    let found: KernelFolder | null = null;
    await this.desk.run(this.list, async () => {
      found = await this.desk.ferry.list(folder);
    });
    if (found && !this.desk.signal.aborted) this.draw(found, came);
  }

  private draw(found: KernelFolder, came: string | null): void {
    const { text, format } = this.desk;
    this.shown = found;
    this.drawCrumbs(found);
    this.lines = found.entries.map(
      (entry) =>
        new Entry(
          this.desk,
          entry,
          () => this.tick(entry),
          () => this.enter(entry),
        ),
    );
    this.list.replaceChildren(...this.lines.map((line) => line.node));
    if (this.lines.length === 0) this.list.append(make("li", "nf-note", text.folderEmpty));
    setShown(this.left, found.more > 0);
    setText(this.left, format.plural(text.entriesLeft, found.more));
    this.tell();
    const at = Math.max(
      0,
      this.lines.findIndex((line) => line.entry.path === came),
    );
    if (this.lines.length > 0) this.stand(at);
    else this.crumbs.querySelector<HTMLElement>("button:last-of-type")?.focus();
  }

  /** The path from the top to here; each part but the last is a button. */
  private drawCrumbs({ folder, parent }: KernelFolder): void {
    const parts = [...folder.matchAll(/[^\\/]+/g)];
    const root = /^[\\/]+/.exec(folder)?.[0];
    const items = parts.map((part, at) => {
      const end = part.index + part[0].length;
      const path = at === 0 && part[0].endsWith(":") ? folder.slice(0, end + 1) : folder.slice(0, end);
      return this.crumb(part[0], path, at === parts.length - 1);
    });
    if (root) items.unshift(this.crumb(root, root, parts.length === 0, "nf-root"));
    const up = plainButton(this.desk.text.folderUp, () => this.show(parent, folder), "nf-quiet", "up");
    this.crumbs.replaceChildren(...(parent === null ? [] : [up]), ...items);
  }

  private crumb(name: string, path: string, last: boolean, style = ""): HTMLElement {
    const bdi = make("bdi", "", visible(name));
    if (last) return marked(make("span", "nf-bare nf-strong", bdi), { "aria-current": "location" });
    return bareButton(`nf-bare ${style}`, () => this.show(path), bdi);
  }

  private enter(entry: KernelEntry): void {
    if (entry.folder) void this.show(entry.path);
    else this.tick(entry);
  }

  private tick(entry: KernelEntry): void {
    if (this.chosen.has(entry.path)) this.chosen.delete(entry.path);
    else {
      for (const path of this.chosen.keys()) if (within(path, entry.path)) this.chosen.delete(path);
      this.chosen.set(entry.path, entry);
    }
    this.tell();
  }

  /** Update checkboxes, sum and button. The contents of a ticked folder are ticked too. */
  private tell(): void {
    const { text, format } = this.desk;
    const entries = [...this.chosen.values()];
    for (const line of this.lines) {
      const under = entries.some(({ path }) => within(line.entry.path, path));
      line.tick(under || this.chosen.has(line.entry.path), under);
    }
    const files = entries.filter(({ folder }) => !folder);
    const folders = entries.length - files.length;
    const size = format.size(files.reduce((sum, file) => sum + file.size, 0));
    const parts: string[] = [];
    if (files.length > 0)
      parts.push(fill(text.bytesIn, { files: format.plural(text.files, files.length), size }));
    if (folders > 0) parts.push(format.plural(text.folders, folders));
    const [one, two] = parts;
    setText(this.sum, one && two ? fill(text.and, { one, two }) : (one ?? text.chosenNone));
    setAttribute(this.send, "aria-disabled", entries.length > 0 ? null : "true");
  }

  private go(): void {
    if (this.chosen.size === 0) return;
    const { ferry } = this.desk;
    const sent = this.desk.run(
      this.send,
      () => ferry.send([...this.chosen.keys()]),
      () => ferry.view.phase !== "pick",
    );
    void sent.then(() => this.tell());
  }

  /** Arrows move between rows, right opens a folder, left goes up; the list is one stop for the tab key. */
  private key(event: KeyboardEvent): void {
    const at = this.lines.findIndex((line) => line.node.contains(event.target as Node));
    const here = this.lines[at];
    if (!here || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.lines.length - 1;
    const moves: Record<string, () => void> = {
      ArrowDown: () => this.stand(Math.min(last, at + 1)),
      ArrowUp: () => this.stand(Math.max(0, at - 1)),
      Home: () => this.stand(0),
      End: () => this.stand(last),
      Enter: () => this.enter(here.entry),
      ArrowRight: () => here.entry.folder && this.enter(here.entry),
      ArrowLeft: () => this.up(),
      Backspace: () => this.up(),
    };
    const move = moves[event.key];
    if (!move || (event.key === "Enter" && event.target !== here.box)) return;
    event.preventDefault();
    move();
  }

  private up(): void {
    if (this.shown?.parent != null) void this.show(this.shown.parent, this.shown.folder);
  }

  private stand(at: number): void {
    this.lines.forEach((line, other) => {
      line.box.tabIndex = other === at ? 0 : -1;
    });
    this.lines[at]?.box.focus();
  }
}

class Entry {
  readonly node: HTMLElement;
  readonly box = make("input");

  constructor(
    desk: Desk,
    readonly entry: KernelEntry,
    ticked: () => void,
    entered: () => void,
  ) {
    const { text, format } = desk;
    this.box.type = "checkbox";
    const label = visible(entry.name);
    this.box.setAttribute("aria-label", entry.folder ? fill(text.folderName, { name: label }) : label);
    this.box.addEventListener("change", ticked);
    const parts = [icon(entry.folder ? "folder" : "file"), new Name(entry.name).node];
    const open = entry.folder ? bareButton("nf-bare", entered, ...parts) : make("label", "nf-bare", ...parts);
    if (open instanceof HTMLButtonElement) {
      // The checkbox is the stop; right and Enter open the folder.
      open.tabIndex = -1;
      open.setAttribute("aria-label", label);
    } else open.htmlFor = this.box.id = freshId();
    const size = make("span", "nf-number nf-dim", entry.folder ? "" : format.size(entry.size));
    size.title = fill(text.modified, { when: format.date(entry.mtime) });
    this.node = make("li", "nf-row", this.box, open, size);
  }

  tick(on: boolean, fixed: boolean): void {
    this.box.checked = on;
    this.box.disabled = fixed;
  }
}

/** Whether a path is inside a folder, with either kind of slash. */
function within(path: string, folder: string): boolean {
  return path.startsWith(folder) && (/[\\/]$/.test(folder) || /^[\\/]/.test(path.slice(folder.length)));
}
