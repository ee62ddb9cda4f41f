/** The card: its parts in order, updated with each view. Cards share nothing. */

import type { Ferry, State, View } from "../types";
import { Again } from "./again";
import { Code } from "./code";
import { Commands } from "./commands";
import { Desk, type Part } from "./desk";
import { icon, make, setAttribute, setShown, setText } from "./dom";
import { isolated } from "./format";
import { Head } from "./head";
import { Intake } from "./intake";
import { Live } from "./live";
import { Notify } from "./notify";
import { Offer } from "./offer";
import { Overall } from "./overall";
import { Pick } from "./pick";
import { Rows } from "./rows";
import { Saving } from "./saving";
import { Take } from "./take";

/** Draw a card into an element; returns a function that removes it. */
export function drawCard(el: HTMLElement, ferry: Ferry): () => void {
  const card = new Card(ferry);
  el.append(card.node);
  return () => card.close();
}

const FINAL: State[] = ["done", "failed", "rejected", "cancelled", "expired"];

class Card {
  readonly node = make("section", "nbferry");
  private readonly ending = new AbortController();
  private readonly desk: Desk;
  private readonly parts: Part[];
  private readonly wrong = make("div", "nf-box nf-warn");
  private readonly silent = make("div", "nf-box nf-warn");
  private readonly foot = make("footer", "nf-row");
  private readonly unwatch: () => void;

  constructor(private readonly ferry: Ferry) {
    this.desk = new Desk(ferry, this.ending.signal, () => this.update());
    // So that a click makes it the target of a paste.
    this.node.tabIndex = -1;
    this.node.addEventListener("focusin", () => this.keepKeys(), { signal: this.ending.signal });
    const intake = new Intake(this.desk, this.node, () => this.wantsFiles());
    this.parts = this.assemble(intake);
    this.unwatch = ferry.watch(() => {
      this.desk.changed();
      this.update();
    });
    this.update();
  }

  close(): void {
    this.unwatch();
    this.ending.abort();
    this.node.remove();
  }

  private assemble(intake: Intake): Part[] {
    const { desk } = this;
    const commands = new Commands(desk);
    const notify = new Notify(desk);
    const live = new Live(desk);
    const main = [new Code(desk), new Take(desk), new Pick(desk, intake), new Again(desk, intake)];
    const more = [new Overall(desk), new Rows(desk), new Saving(desk)];
    const offer = new Offer(desk);
    const head = new Head(desk);
    this.silent.append(icon("warn"), make("p"));
    this.wrong.append(icon("warn"), make("p"));
    this.foot.append(offer.node, commands.node, desk.waiting.node, notify.node);
    this.node.append(head.node, desk.trouble.node, this.silent, this.wrong);
    this.node.append(...main.map((part) => part.node), intake.node, ...more.map((part) => part.node));
    this.node.append(this.foot, live.node);
    return [head, ...main, ...more, offer, commands, notify, live];
  }

  private update(): void {
    if (this.ending.signal.aborted) return;
    const { view } = this.ferry;
    const focused = this.active();
    setAttribute(this.node, "data-kind", view.kind);
    setAttribute(this.node, "data-phase", view.phase);
    setAttribute(this.node, "data-state", view.transfer?.state ?? "none");
    setAttribute(this.node, "aria-label", this.name(view));
    this.desk.waiting.update();
    this.warn(view);
    for (const part of this.parts) part.update(view);
    setShown(
      this.foot,
      [...this.foot.querySelectorAll("button, .nf-note")].some((node) => isSeen(node, this.foot)),
    );
    if (focused && !(focused.isConnected && isSeen(focused))) this.successor(focused).focus();
    this.keepKeys();
  }

  /**
   * Keep keys in the card while a person chooses: JupyterLab would move, delete and paste cells by them. Later let
   * JupyterLab have them, so that Shift+Enter runs the cell after a click on Pause.
   */
  private keepKeys(): void {
    const target = this.active();
    const kept = this.ferry.view.phase === "pick" || this.wantsFiles();
    if (target) setAttribute(target, "data-lm-suppress-shortcuts", kept ? "true" : null);
  }

  private name(view: View): string {
    const kind = this.desk.text.kinds[view.transfer?.role ?? view.kind].toLowerCase();
    const what = view.transfer?.title ?? view.what;
    return `nbferry: ${kind}${what ? ` ${isolated(what)}` : ""}`;
  }

  private warn(view: View): void {
    const { text, format } = this.desk;
    const transfer = view.transfer;
    const over = transfer !== null && FINAL.includes(transfer.state);
    say(this.silent, !this.desk.reached && !over ? text.silent : "");
    const wrong = transfer?.wrong ?? 0;
    say(this.wrong, wrong > 0 ? format.plural(text.wrong, wrong) : "");
  }

  private wantsFiles(): boolean {
    const { view } = this.ferry;
    if (!this.desk.reached) return false;
    if (view.transfer) return view.transfer.needs_files;
    return view.phase === "pick" && (view.kind === "send" || view.kind === "upload");
  }

  /** The focused element of the card, if any. */
  private active(): HTMLElement | null {
    const { activeElement } = this.node.getRootNode() as Document | ShadowRoot;
    return activeElement instanceof HTMLElement && this.node.contains(activeElement) ? activeElement : null;
  }

  /** Where the focus goes when its element is gone: a button beside it, else any button, else the card. */
  private successor(gone: HTMLElement): HTMLElement {
    const beside = gone.parentElement?.querySelectorAll<HTMLElement>("button") ?? [];
    const all = this.node.querySelectorAll<HTMLElement>("button, input:not([type=file])");
    return [...beside, ...all].find((node) => isSeen(node)) ?? this.node;
  }
}

/** Show a box with this sentence; without one, remove the text from the page too. */
function say(box: HTMLElement, words: string): void {
  setText(box.lastElementChild ?? box, words);
  setShown(box, words !== "");
}

/** Whether the element and its ancestors below `within` are visible. */
function isSeen(node: Element, within: Element | null = null): boolean {
  for (let at: Element | null = node; at && at !== within; at = at.parentElement) {
    if (at.hasAttribute("hidden")) return false;
  }
  return true;
}
