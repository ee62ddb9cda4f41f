// @vitest-environment happy-dom
import { describe, expect, it, vi } from "vitest";
import { Refusal } from "../../src/types";
import { card, draw } from "./drawing";
import { Later, settled, viewOf } from "./fake";

describe("commands", () => {
  it("are busy at once, before anybody answers", async () => {
    const later = new Later<void>();
    const ferry = draw(viewOf({}), { answer: later.promise });
    card.click("Pause");
    expect(card.button("Pause").getAttribute("aria-busy")).toBe("true");
    expect(card.text).toContain("Pausing…");
    later.resolve();
    ferry.change({ state: "paused", can: ["resume", "cancel"] });
    await settled();
    expect(card.button("Resume").hasAttribute("aria-busy")).toBe(false);
    expect(card.text).not.toContain("Pausing…");
  });

  it("are told once however often the button is pressed", () => {
    const ferry = draw(viewOf({}), { answer: new Promise(() => {}) });
    card.click("Pause");
    card.click("Pause");
    expect(ferry.told).toEqual(["pause"]);
    expect(card.text).toContain("Pausing…");
  });

  it("stay busy for a moment until the view follows the answer", async () => {
    draw(viewOf({}));
    card.click("Pause");
    await settled();
    expect(card.button("Pause").hasAttribute("aria-busy")).toBe(true);
    await vi.advanceTimersByTimeAsync(1000);
    expect(card.button("Pause").hasAttribute("aria-busy")).toBe(false);
  });

  it("that nobody answers say that they act when the cell ends", async () => {
    draw(viewOf({}), { answer: new Promise(() => {}), reach: { by: "comm" } });
    card.click("Pause");
    await vi.advanceTimersByTimeAsync(1499);
    expect(card.root.textContent).not.toContain("This takes effect");
    await vi.advanceTimersByTimeAsync(1);
    expect(card.text).toContain("This takes effect when the running cell ends.");
  });

  it("through a line are acted on whatever runs, and say nothing", async () => {
    draw(viewOf({}), { answer: new Promise(() => {}) });
    card.click("Pause");
    await vi.advanceTimersByTimeAsync(5000);
    expect(card.root.textContent).not.toContain("This takes effect");
  });

  it("that are refused show why and what to do, until the next action", async () => {
    const ferry = draw(viewOf({}), {
      answer: Promise.reject(new Refusal("busy", "It is busy.", "Stop it.")),
    });
    card.click("Pause");
    await settled();
    expect(card.role("alert").textContent).toContain("It is busy. Stop it.");
    expect(card.button("Pause").hasAttribute("aria-busy")).toBe(false);
    ferry.answer = Promise.resolve();
    card.click("Cancel");
    expect(card.text).not.toContain("It is busy.");
  });

  it("that are refused can be put away", async () => {
    draw(viewOf({}), { answer: Promise.reject(new Refusal("busy", "It is busy.")) });
    card.click("Pause");
    await settled();
    card.click("Dismiss");
    expect(card.text).not.toContain("It is busy.");
  });

  it("are not there when no kernel stands behind the card", () => {
    draw(viewOf({}), { reach: { by: "none" } });
    expect(card.buttons).toEqual([]);
    expect(card.text).toContain(
      "The kernel does not answer. If it was restarted, run: import nbferry; nbferry.resume()",
    );
  });

  it("and the kernel are not missed at the end", () => {
    draw(viewOf({ state: "done", can: [] }), { reach: { by: "none" } });
    expect(card.root.textContent).not.toContain("does not answer");
  });
});
