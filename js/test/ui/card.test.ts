// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import type { Kind } from "../../src/types";
import { card, draw } from "./drawing";
import { Drawn, viewOf } from "./fake";

describe("a transfer under way", () => {
  it("says how far it is, how fast, how long and which way", () => {
    draw(viewOf({}));
    expect(card.text).toContain("450 B of 1.0 kB");
    for (const fact of ["45 %", "100 B/s", "5 s left", "direct"]) expect(card.text).toContain(fact);
  });

  it("says since when it goes another way than before", () => {
    draw(viewOf({ via: "webrtc", via_since: Date.UTC(2026, 10, 28, 14, 3, 10) / 1000 }));
    expect(card.text).toMatch(/direct by WebRTC since .*\d:03:10/);
  });

  it("tells bytes sent, verified and durable apart", () => {
    draw(viewOf({}));
    for (const fact of ["Durable 300 B", "Verified 450 B", "Sent 600 B"]) {
      expect(card.root.textContent).toContain(fact);
    }
  });

  it("has a progress bar over all with words for readers", () => {
    draw(viewOf({}));
    const bar = card.role("progressbar", "All files");
    expect(bar.getAttribute("aria-valuenow")).toBe("45");
    expect(bar.getAttribute("aria-valuetext")).toBe("45 % of \u2068trips.parquet\u2069, 100 B/s, 5 s left");
  });

  it("has a progress bar for each file, by its name", () => {
    draw(
      viewOf({
        files: 2,
        rows: [
          ["a.csv", 10, 5, 0],
          ["b.csv", 10, 0, 0],
        ],
      }),
    );
    expect(card.role("progressbar", "a.csv").getAttribute("aria-valuenow")).toBe("50");
    expect(card.role("progressbar", "b.csv").getAttribute("aria-valuenow")).toBe("0");
  });

  it("names its kind, phase and state at the root", () => {
    draw(viewOf({}));
    const { kind, phase, state } = card.root.dataset;
    expect([kind, phase, state]).toEqual(["send", "transfer", "transferring"]);
    expect(card.root.getAttribute("aria-label")).toBe("nbferry: send \u2068trips.parquet\u2069");
  });

  it("offers what can be done, and nothing else", () => {
    const ferry = draw(viewOf({}));
    expect(card.buttons.slice(0, 2)).toEqual(["Pause", "Cancel"]);
    ferry.change({ can: ["resume", "cancel"], state: "paused" });
    expect(card.buttons.slice(0, 2)).toEqual(["Resume", "Cancel"]);
  });

  it("gives the reason why it waits as a sentence", () => {
    draw(viewOf({ state: "paused", reason: "paused by the other side" }));
    expect(card.text).toContain("Paused by the other side.");
  });

  it("warns of wrong guesses", () => {
    draw(viewOf({ wrong: 2 }));
    expect(card.text).toContain("Someone tried 2 wrong codes.");
  });

  it("is drawn without touching what has the focus", () => {
    const ferry = draw(viewOf({}));
    const pause = card.button("Pause");
    pause.focus();
    ferry.change({ verified: 700 });
    expect(document.activeElement).toBe(pause);
    expect(card.button("Pause")).toBe(pause);
  });

  it("passes the focus to the button that takes the place", () => {
    const ferry = draw(viewOf({}));
    card.button("Pause").focus();
    ferry.change({ state: "paused", can: ["resume", "cancel"] });
    expect(document.activeElement).toBe(card.button("Resume"));
  });

  it("leaves the focus alone that is elsewhere", () => {
    const ferry = draw(viewOf({}));
    ferry.change({ state: "paused", can: ["resume"] });
    expect(document.activeElement).toBe(document.body);
  });

  it("shows a file without bytes as empty, and as complete at the end", () => {
    const ferry = draw(viewOf({ total: 0, verified: 0, rows: [["none.txt", 0, 0, 0]] }));
    expect(card.text).toContain("empty");
    ferry.change({ state: "done", can: [] });
    expect(card.role("progressbar", "none.txt").getAttribute("aria-valuenow")).toBe("100");
    expect(card.role("progressbar", "All files").getAttribute("aria-valuenow")).toBe("100");
  });

  it("does not watch the ferry any more when it is taken away", () => {
    const ferry = draw(viewOf({}));
    card.close();
    expect(ferry.watched).toBe(0);
    expect(document.querySelector(".nbferry")).toBeNull();
  });

  it("two cards of one ferry show the same", () => {
    const ferry = draw(viewOf({}));
    const other = new Drawn(ferry);
    ferry.change({ verified: 800 });
    for (const one of [card, other]) expect(one.text).toContain("800 B of 1.0 kB");
    other.close();
  });
});

describe("the end", () => {
  it("says size, time, average rate, and that every byte was verified", () => {
    const digest = "0123456789abcdef".repeat(4);
    draw(viewOf({ state: "done", verified: 1000, durable: 1000, seconds: 4, eta: null, can: [], digest }));
    expect(card.text).toContain("1.0 kB in 4 s");
    for (const fact of ["250 B/s on average", "every byte verified", "digest 0123456789ab…"]) {
      expect(card.text).toContain(fact);
    }
    expect(card.root.querySelector(`[title*="${digest}"]`)).not.toBeNull();
  });

  it("gives the reason of a failure", () => {
    draw(viewOf({ state: "failed", reason: "The disk is full.", can: [] }));
    expect(card.text).toContain("The disk is full.");
  });

  it("has no bars if nothing had begun", () => {
    draw(viewOf({ state: "rejected", verified: 0, can: [] }));
    expect(() => card.role("progressbar")).toThrow();
  });
});

describe("before anything is chosen", () => {
  const buttons: Record<Kind, string[]> = {
    send: ["Choose files", "Choose a folder", "The kernel's files"],
    upload: ["Choose files", "Choose a folder"],
    receive: ["Receive"],
    download: ["Save"],
  };
  it.each(Object.entries(buttons))("a %s has its buttons", (kind, names) => {
    draw(viewOf(null, { kind: kind as Kind }));
    expect(card.buttons).toEqual(names);
  });
});

describe("keys", () => {
  const kept = () => document.activeElement?.getAttribute("data-lm-suppress-shortcuts");

  it("are kept from the notebook while something is to be chosen", () => {
    draw(viewOf(null));
    card.button("Choose files").focus();
    expect(kept()).toBe("true");
  });

  it("are the notebook's while it is transferred", () => {
    draw(viewOf({}));
    card.button("Pause").focus();
    expect(kept()).toBeNull();
  });
});
