// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { card, draw } from "./drawing";
import { settled, viewOf } from "./fake";

describe("a notification", () => {
  const shown: string[] = [];
  class FakeNotification {
    static permission = "default";
    static requestPermission = async () => "granted";
    constructor(title: string, { body }: { body: string }) {
      shown.push(`${title}: ${body}`);
    }
  }

  beforeEach(() => {
    shown.length = 0;
    vi.stubGlobal("Notification", FakeNotification);
    vi.stubGlobal("isSecureContext", true);
  });

  afterEach(() => {
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  });

  it("comes at the end if the page is hidden", async () => {
    const ferry = draw(viewOf({}));
    card.click("Notify me");
    await settled();
    vi.spyOn(document, "hidden", "get").mockReturnValue(true);
    ferry.change({ state: "failed", reason: "The disk is full.", can: [] });
    ferry.change({});
    expect(shown).toEqual(["trips.parquet: Failed: The disk is full."]);
  });

  it("does not come to a page that is looked at", async () => {
    const ferry = draw(viewOf({}));
    card.click("Notify me");
    await settled();
    vi.spyOn(document, "hidden", "get").mockReturnValue(false);
    ferry.change({ state: "done", can: [] });
    expect(shown).toEqual([]);
  });

  it("is not offered where the browser has none", () => {
    vi.stubGlobal("isSecureContext", false);
    draw(viewOf({}));
    expect(card.buttons).not.toContain("Notify me");
  });
});
