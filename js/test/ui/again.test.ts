// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { card, draw } from "./drawing";
import { viewOf } from "./fake";

describe("files that are needed again", () => {
  const needed = () => viewOf({ role: "upload", state: "paused", needs_files: true }, { kind: "upload" });

  it("are gone on with by one click where they are remembered", () => {
    const ferry = draw(needed(), { remembered: true });
    card.click("Resume with the same files");
    expect(ferry.told).toEqual(["lend"]);
  });

  it("are chosen again where they are not", () => {
    draw(needed());
    expect(card.buttons).toContain("Choose the same files again");
    expect(card.buttons).not.toContain("Resume with the same files");
  });
});
