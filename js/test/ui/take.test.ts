// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { card, draw } from "./drawing";
import { viewOf } from "./fake";

describe("a code that is typed", () => {
  const field = () => card.one(card.root, "form input") as HTMLInputElement;

  it.each(["button", "Enter"])("begins a receive by %s", (how) => {
    const ferry = draw(viewOf(null, { kind: "receive" }));
    field().value = " 7-walnut-ribbon ";
    if (how === "button") card.click("Receive");
    else field().dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
    expect(ferry.told).toEqual(["receive 7-walnut-ribbon"]);
  });

  it("may be the whole call", () => {
    const ferry = draw(viewOf(null, { kind: "receive" }));
    field().value = 'nbferry.receive("7-walnut-ribbon")';
    card.click("Receive");
    expect(ferry.told).toEqual(["receive 7-walnut-ribbon"]);
  });

  it("has a label", () => {
    draw(viewOf(null, { kind: "receive" }));
    expect((card.one(card.root, "label") as HTMLLabelElement).htmlFor).toBe(field().id);
  });

  it("that is missing sends nothing", () => {
    const ferry = draw(viewOf(null, { kind: "receive" }));
    card.click("Receive");
    expect(ferry.told).toEqual([]);
    expect(document.activeElement).toBe(field());
  });
});
