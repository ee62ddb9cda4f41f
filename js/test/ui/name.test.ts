// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { card, draw } from "./drawing";
import { viewOf } from "./fake";

describe("names", () => {
  const NASTY = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "&lt;b&gt;",
    '"><svg/onload=x>',
  ];
  it.each(NASTY)("%s is text", (name) => {
    draw(viewOf({ title: name, rows: [[name, 10, 1, 1]] }));
    expect(card.root.querySelectorAll("img, script, b").length).toBe(0);
    const shown = [...card.root.querySelectorAll("bdi")].map((node) => node.textContent);
    expect(shown.filter((text) => text !== "")).toEqual([name, name]);
  });

  it("a long one is whole in the title and in the text, and cut by the style only", () => {
    const name = `${"x".repeat(196)}.csv`;
    draw(viewOf({ rows: [[name, 10, 1, 1]] }));
    const shown = card.one(card.root, "li bdi");
    expect([shown.textContent, shown.title]).toEqual([name, name]);
    expect(shown.lastElementChild?.textContent).toBe("xxxxxxxx.csv");
  });

  it("one of joined letters is not cut in two", () => {
    const name = `${"ب".repeat(60)}.csv`;
    draw(viewOf({ rows: [[name, 10, 1, 1]] }));
    expect(card.one(card.root, "li bdi").firstElementChild?.textContent).toBe(name);
  });
});
