// @vitest-environment happy-dom
import { describe, expect, it, vi } from "vitest";
import { Refusal } from "../../src/types";
import { card, draw } from "./drawing";
import { settled, viewOf } from "./fake";

describe("the code", () => {
  const waiting = () => viewOf({ state: "waiting", has_code: true, verified: 0, can: ["cancel"] });

  it("is asked for once, and shown with how to use it", async () => {
    const ferry = draw(waiting());
    await settled();
    ferry.change({});
    expect(ferry.told).toEqual(["code"]);
    expect(card.one(card.root, ".nbferry-code").textContent).toBe("7-walnut-ribbon");
    expect(card.text).toContain('nbferry.receive("7-walnut-ribbon")');
  });

  it("comes with its note", async () => {
    draw(waiting(), { codeAnswer: Promise.resolve({ code: "7-a", note: "works on this machine only" }) });
    await settled();
    expect(card.text).toContain("works on this machine only");
  });

  it("is asked for again if it was refused", async () => {
    const ferry = draw(waiting(), { codeAnswer: Promise.reject(new Refusal("x", "Not now.")) });
    await settled();
    expect(card.role("alert").textContent).toContain("Not now.");
    expect(ferry.told).toEqual(["code"]);
    ferry.codeAnswer = Promise.resolve({ code: "7-a", note: "" });
    ferry.change({});
    await settled();
    expect(card.one(card.root, ".nbferry-code").textContent).toBe("7-a");
  });

  it("goes to the clipboard", async () => {
    const writeText = vi.fn(async () => {});
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    draw(waiting());
    await settled();
    card.click("Copy");
    await settled();
    expect(writeText).toHaveBeenCalledWith("7-walnut-ribbon");
    expect(card.text).toContain("Copied");
    vi.unstubAllGlobals();
  });

  it("is copied the old way where there is no clipboard", async () => {
    vi.stubGlobal("navigator", {});
    const copied: string[] = [];
    const selected = () => copied.push(document.querySelector("textarea")?.value ?? "") > 0;
    Object.assign(document, { execCommand: selected });
    draw(waiting());
    await settled();
    card.click("Copy");
    await settled();
    expect(copied).toEqual(["7-walnut-ribbon"]);
    expect(document.querySelector("textarea")).toBeNull();
    expect(document.activeElement).toBe(card.button("Copy"));
    vi.unstubAllGlobals();
  });

  it("is away as soon as somebody has come", async () => {
    const ferry = draw(waiting());
    await settled();
    ferry.change({ state: "offered" });
    expect(card.root.textContent).not.toContain("7-walnut-ribbon");
  });
});
