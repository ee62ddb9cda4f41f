/** Asks for the files of this machine again, after their page was reloaded or closed. */

import type { View } from "../types";
import type { Desk, Part } from "./desk";
import { make, plainButton, setShown } from "./dom";
import type { Intake } from "./intake";

export class Again implements Part {
  readonly node = make("div", "nf-column nf-soft");
  private readonly resume: HTMLButtonElement;
  private readonly files: HTMLButtonElement;
  private readonly folder: HTMLButtonElement;
  private inFolder = false;

  constructor(
    private readonly desk: Desk,
    intake: Intake,
  ) {
    const text = desk.text;
    const followed = () => !desk.ferry.view.transfer?.needs_files;
    const lend = () => desk.run(this.resume, () => desk.ferry.lendAgain(), followed);
    this.resume = plainButton(text.resumeSame, lend, "nf-primary");
    this.files = plainButton(text.again, () =>
      this.inFolder ? intake.chooseFolder() : intake.chooseFiles(),
    );
    this.folder = plainButton(text.chooseFolder, () => intake.chooseFolder());
    const words = make("p", "", make("strong", "", text.againTitle), ". ", text.againText);
    this.node.append(words, make("div", "nf-row", this.resume, this.files, this.folder));
  }

  update(view: View): void {
    const { ferry } = this.desk;
    const needed = view.transfer?.needs_files === true && this.desk.reached;
    setShown(this.node, needed);
    if (!needed) return;
    const rows = view.transfer?.rows ?? [];
    const inside = rows.filter(([name]) => name.includes("/")).length;
    this.inFolder = inside > 0 && inside === rows.length;
    setShown(this.folder, inside > 0 && !this.inFolder);
    setShown(this.resume, ferry.remembered);
    this.files.classList.toggle("nf-primary", !ferry.remembered);
  }
}
