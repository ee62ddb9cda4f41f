/** Before a choice: the card is a drop zone with buttons. */

import type { View } from "../types";
import { Chooser } from "./chooser";
import type { Desk, Part } from "./desk";
import { icon, make, plainButton, setAttribute, setShown, setText } from "./dom";
import type { Intake } from "./intake";

export class Pick implements Part {
  readonly node = make("div");
  private readonly hint = make("p", "nf-dim");
  private readonly kernel: HTMLButtonElement;
  private readonly chooser: Chooser;

  constructor(
    private readonly desk: Desk,
    intake: Intake,
  ) {
    const text = desk.text;
    const files = plainButton(text.chooseFiles, () => intake.chooseFiles(), "", "file");
    const folder = plainButton(text.chooseFolder, () => intake.chooseFolder(), "", "folder");
    this.kernel = plainButton(text.kernelFiles, () => this.toggle(this.chooser.node.hidden !== false));
    this.chooser = new Chooser(desk, () => this.toggle(false));
    setAttribute(this.kernel, "aria-expanded", "false");
    const zone = make("div", "nf-column nf-zone", icon("tray"), this.hint);
    zone.append(make("div", "nf-row", files, folder, this.kernel));
    this.node.append(zone, this.chooser.node);
  }

  update(view: View): void {
    const able = this.desk.reached;
    setShown(this.node, able && view.phase === "pick" && (view.kind === "send" || view.kind === "upload"));
    setText(this.hint, view.kind === "send" ? this.desk.text.dropSend : this.desk.text.dropUpload);
    setShown(this.kernel, view.kind === "send");
  }

  private toggle(open: boolean): void {
    setShown(this.chooser.node, open);
    setAttribute(this.kernel, "aria-expanded", String(open));
    if (open) void this.chooser.open();
    else this.kernel.focus();
  }
}
