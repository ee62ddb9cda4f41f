/** How files of this machine come to the card: by dialog, drop or paste. The ferry handles them. */

import { type Found, fromDrop, fromHandles, fromList } from "../files";
import { type Picked, Refusal } from "../types";
import { type Desk, isBusy } from "./desk";
import { make, marked, setShown, setText } from "./dom";

type Gather = (found: Found) => Promise<Picked[]>;

/** Chromium's dialogs return handles, which survive a reload, except in frames and at insecure addresses. */
interface Dialogs {
  showOpenFilePicker?: (options: { multiple: boolean }) => Promise<FileSystemHandle[]>;
  showDirectoryPicker?: (options: { mode: "read" }) => Promise<FileSystemHandle>;
}

export class Intake {
  /** Shows progress: files found, the transfer starting. */
  readonly node = make("p", "nf-note");
  private readonly files = field(false);
  private readonly folder = field(true);
  // Counts open dragenter events of elements of the card.
  private depth = 0;

  constructor(
    private readonly desk: Desk,
    private readonly card: HTMLElement,
    /** Whether the card accepts files now. */
    private readonly open: () => boolean,
  ) {
    this.node.hidden = true;
    marked(this.node, { "aria-live": "polite" });
    for (const input of [this.files, this.folder]) {
      input.addEventListener("change", () => {
        const picked = fromList(input.files ?? []);
        // So that the same choice counts as a change next time.
        input.value = "";
        void this.take(async () => picked);
      });
      card.append(input);
    }
    this.listen();
  }

  /** Call it from a click. */
  async chooseFiles(): Promise<void> {
    const dialogs = globalThis as Dialogs;
    await this.choose(
      this.files,
      dialogs.showOpenFilePicker && (() => dialogs.showOpenFilePicker?.({ multiple: true })),
    );
  }

  async chooseFolder(): Promise<void> {
    const dialogs = globalThis as Dialogs;
    const ask = async () => [await dialogs.showDirectoryPicker?.({ mode: "read" })];
    await this.choose(this.folder, dialogs.showDirectoryPicker && ask);
  }

  private async choose(
    input: HTMLInputElement,
    ask: (() => Promise<(FileSystemHandle | undefined)[]> | undefined) | undefined,
  ): Promise<void> {
    this.desk.trouble.clear();
    try {
      const handles = (await ask?.())?.filter((handle) => handle !== undefined);
      if (handles) await this.take((found) => fromHandles(handles, found));
      else input.click();
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) input.click();
    }
  }

  private listen(): void {
    const options = { signal: this.desk.signal };
    this.card.addEventListener("dragenter", (event) => this.drag(event, 1), options);
    this.card.addEventListener("dragleave", (event) => this.drag(event, -1), options);
    this.card.addEventListener("dragover", (event) => this.drag(event, 0), options);
    this.card.addEventListener("drop", (event) => this.drop(event), options);
    this.card.addEventListener("paste", (event) => this.paste(event), options);
  }

  private drag(event: DragEvent, step: number): void {
    if (!event.dataTransfer?.types.includes("Files") || !this.open()) return;
    event.preventDefault();
    event.stopPropagation();
    event.dataTransfer.dropEffect = "copy";
    this.depth = Math.max(0, this.depth + step);
    this.card.classList.toggle("nf-over", this.depth > 0);
  }

  private drop(event: DragEvent): void {
    this.depth = 0;
    this.card.classList.remove("nf-over");
    if (!event.dataTransfer?.types.includes("Files") || !this.open()) return;
    event.preventDefault();
    event.stopPropagation();
    void this.take(fromDrop(event.dataTransfer));
  }

  private paste(event: ClipboardEvent): void {
    const data = event.clipboardData;
    if (!data || data.files.length === 0 || !this.open()) return;
    event.preventDefault();
    event.stopPropagation();
    void this.take(fromDrop(data));
  }

  private async take(gather: Gather): Promise<void> {
    const { desk } = this;
    if (isBusy(this.node)) return;
    const followed = () => !this.open();
    await desk.work(
      this.node,
      async () => {
        const picked = await gather((count) => this.say(desk.format.plural(desk.text.gathering, count)));
        if (picked.length === 0) throw new Refusal("nothing", desk.text.nothingPicked);
        this.say(desk.text.starting);
        await desk.asked(desk.ferry.offer(picked));
      },
      followed,
    );
    this.say("");
  }

  private say(words: string): void {
    setText(this.node, words);
    setShown(this.node, words !== "");
  }
}

function field(folder: boolean): HTMLInputElement {
  const input = make("input", folder ? "nf-pick-folder" : "nf-pick-files");
  input.type = "file";
  input.multiple = true;
  if (folder) marked(input, { webkitdirectory: "" });
  input.hidden = true;
  return input;
}
