// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { card, draw } from "./drawing";
import { viewOf } from "./fake";

describe("the live region", () => {
  const said = () => card.one(card.root, "[role=status]").textContent?.replace(/[\u2068\u2069]/g, "");

  it("says nothing of what was so when the card came", () => {
    draw(viewOf({}));
    expect(said()).toBe("");
  });

  it("says states and quarters, and nothing in between", () => {
    const ferry = draw(viewOf({ state: "waiting", verified: 0 }));
    const heard: (string | undefined)[] = [];
    const steps = [
      { state: "transferring" },
      { verified: 100 },
      { verified: 260 },
      { verified: 300 },
      { state: "paused" },
      { state: "transferring" },
      { verified: 800 },
      { state: "verifying", verified: 1000 },
      { state: "writing" },
      { state: "done" },
    ] as const;
    for (const step of steps) {
      const before = said();
      ferry.change(step);
      if (said() !== before) heard.push(said());
    }
    const news = ["started", "25 %", "paused", "resumed", "75 %", "done"];
    expect(heard).toEqual(news.map((one) => `trips.parquet: ${one}`));
  });

  it("says what is offered, and why something failed", () => {
    const ferry = draw(viewOf({ role: "receive", state: "connecting", verified: 0 }, { kind: "receive" }));
    ferry.change({ state: "offered" });
    expect(said()).toBe("trips.parquet: offered, 1.0 kB");
    ferry.change({ state: "failed", reason: "The disk is full." });
    expect(said()).toBe("trips.parquet: failed. The disk is full.");
  });
});
