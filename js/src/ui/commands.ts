/** Pause, Resume, Cancel: the view says which of them are possible. */

import type { Command, View } from "../types";
import { type Desk, isBusy, type Part } from "./desk";
import { make, plainButton, setShown } from "./dom";

type Told = Exclude<Command, "save">;

/** A button that sends a command to the kernel. `reason` is read at the click. */
export function commandButton(desk: Desk, name: Told, style = "", reason = () => ""): HTMLButtonElement {
  const followed = () => !desk.ferry.view.transfer?.can.includes(name);
  const act = async () => {
    if (isBusy(button)) return;
    const told = desk.run(button, () => desk.ferry.command(name, reason()), followed);
    desk.doing = name;
    desk.redraw();
    await told;
    if (desk.doing === name) desk.doing = null;
    desk.redraw();
  };
  const button = plainButton(desk.text.commands[name], act, style);
  return button;
}

export class Commands implements Part {
  readonly node = make("span", "nf-row");
  private readonly buttons: [Told, HTMLButtonElement][];

  constructor(private readonly desk: Desk) {
    this.buttons = [
      ["pause", commandButton(desk, "pause")],
      ["resume", commandButton(desk, "resume", "nf-primary")],
      ["cancel", commandButton(desk, "cancel")],
    ];
    this.node.append(...this.buttons.map(([, button]) => button));
  }

  update(view: View): void {
    const can = this.desk.reached ? (view.transfer?.can ?? []) : [];
    setShown(
      this.node,
      this.buttons.some(([name]) => can.includes(name)),
    );
    for (const [name, button] of this.buttons) setShown(button, can.includes(name));
  }
}
