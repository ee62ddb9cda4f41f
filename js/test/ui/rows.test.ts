// @vitest-environment happy-dom
import { describe, expect, it, vi } from "vitest";
import { card, draw } from "./drawing";
import { settled, viewOf } from "./fake";

describe("more files", () => {
  const many = (n: number) =>
    Array.from({ length: n }, (_, at): [string, number, number, number] => [`f${at}`, 10, 0, 0]);

  it("come in pages of two hundred", async () => {
    const ferry = draw(viewOf({ files: 300, rows: many(20) }), { allRows: many(300) });
    card.click("and 280 more");
    await settled();
    expect(ferry.told).toEqual(["rows 20 200"]);
    expect(card.root.querySelectorAll("li").length).toBe(220);
    card.click("and 80 more");
    await settled();
    expect(card.root.querySelectorAll("li").length).toBe(300);
    expect(card.buttons).not.toContain("and 0 more");
  });

  it("are looked at again while something moves", async () => {
    const ferry = draw(viewOf({ files: 30, rows: many(20) }), { allRows: many(30) });
    card.click("and 10 more");
    await settled();
    ferry.allRows = ferry.allRows.map(([name, size]) => [name, size, 5, 0]);
    ferry.change({});
    await vi.advanceTimersByTimeAsync(2000);
    expect(card.role("progressbar", "f25").getAttribute("aria-valuenow")).toBe("50");
  });

  it("are all complete at the end without asking", async () => {
    const ferry = draw(viewOf({ files: 30, rows: many(20) }), { allRows: many(30) });
    card.click("and 10 more");
    await settled();
    ferry.change({ state: "done", can: [] });
    expect(card.role("progressbar", "f25").getAttribute("aria-valuenow")).toBe("100");
    expect(ferry.told).toEqual(["rows 20 200"]);
  });
});
