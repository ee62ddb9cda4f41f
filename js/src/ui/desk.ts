/** What the parts of one card share: the ferry, the texts, and how a button's work is shown. */

import type { Command, Ferry, View } from "../types";
import { setAttribute } from "./dom";
import { Format } from "./format";
import { type Strings, tongue } from "./strings";
import { Trouble } from "./trouble";
import { Waiting } from "./waiting";

/** A part of the card: drawn once, then only updated. */
export interface Part {
  readonly node: HTMLElement;
  update(view: View): void;
}

// Milliseconds in which a view should follow the answer to a command.
const SETTLES = 1000;

export class Desk {
  readonly text: Strings;
  readonly format: Format;
  readonly trouble: Trouble;
  readonly waiting: Waiting;
  /** The command that was sent and does not show in the view yet. */
  doing: Exclude<Command, "save"> | null = null;
  private readonly watchers = new Set<() => void>();

  constructor(
    readonly ferry: Ferry,
    /** Aborted when the card is removed. */
    readonly signal: AbortSignal,
    /** Updates the whole card. */
    readonly redraw: () => void,
  ) {
    const words = tongue(document.documentElement.lang || "en");
    this.text = words.text;
    this.format = new Format(words);
    this.trouble = new Trouble(this.text);
    this.waiting = new Waiting(this);
  }

  /**
   * Do a button's work once: mark it busy at once, say so if the kernel does not answer, and show errors. The button
   * stays busy until `followed` holds, for a limited time, because the view comes separately. Resolves to success.
   */
  run(button: HTMLElement, act: () => Promise<unknown>, followed = () => true): Promise<boolean> {
    return this.work(button, () => this.asked(act()), followed);
  }

  /** The same for work that is more than a request to the kernel, for which there is {@link asked}. */
  async work(button: HTMLElement, act: () => Promise<unknown>, followed = () => true): Promise<boolean> {
    if (isBusy(button)) return false;
    this.trouble.clear();
    setBusy(button, true);
    try {
      await act();
      await this.until(followed);
      return true;
    } catch (error) {
      if (!this.signal.aborted) this.trouble.show(error);
      return false;
    } finally {
      setBusy(button, false);
      this.redraw();
    }
  }

  /** Wait for the kernel's answer; tell the person if it takes long. */
  async asked<T>(answer: Promise<T>): Promise<T> {
    const answered = this.waiting.begin();
    try {
      return await answer;
    } finally {
      answered();
    }
  }

  /** Whether the kernel answers, so that buttons are useful. */
  get reached(): boolean {
    return this.ferry.reach.by !== "none";
  }

  /** Called with every new view. */
  changed(): void {
    for (const watcher of [...this.watchers]) watcher();
  }

  private until(holds: () => boolean): Promise<void> {
    if (holds() || this.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        this.watchers.delete(look);
        clearTimeout(timer);
        resolve();
      };
      const look = () => {
        if (holds()) end();
      };
      const timer = setTimeout(end, SETTLES);
      this.watchers.add(look);
      this.signal.addEventListener("abort", end, { once: true });
    });
  }
}

/** Busy is not `disabled`, which would take the focus away. */
export function setBusy(button: HTMLElement, busy: boolean): void {
  setAttribute(button, "aria-busy", busy ? "true" : null);
  setAttribute(button, "aria-disabled", busy ? "true" : null);
}

export function isBusy(button: HTMLElement): boolean {
  return button.getAttribute("aria-busy") === "true";
}
