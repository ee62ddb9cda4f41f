// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Kind, Refusal } from "../../src/types";
import { Drawn, FakeFerry, Later, settled, viewOf } from "./fake";

let card: Drawn;

function draw(view: Parameters<FakeFerry["show"]>[0], some: Partial<FakeFerry> = {}): FakeFerry {
  const ferry = Object.assign(new FakeFerry(view), some);
  card = new Drawn(ferry);
  return ferry;
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  card.close();
  vi.useRealTimers();
  document.body.replaceChildren();
});

describe("a transfer under way", () => {
  it("says how far it is, how fast, how long and which way", () => {
    draw(viewOf({}));
    expect(card.text).toContain("450 B of 1.0 kB");
    for (const fact of ["45 %", "100 B/s", "5 s left", "direct"]) expect(card.text).toContain(fact);
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
    expect(card.text).toContain("Somebody tried 2 wrong codes.");
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
    expect(card.text).not.toContain("It will act");
    await vi.advanceTimersByTimeAsync(1);
    expect(card.text).toContain("It will act when the running cell ends.");
  });

  it("through a line are acted on whatever runs, and say nothing", async () => {
    draw(viewOf({}), { answer: new Promise(() => {}) });
    card.click("Pause");
    await vi.advanceTimersByTimeAsync(5000);
    expect(card.text).not.toContain("It will act");
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
    expect(card.text).toContain("The kernel does not answer. If it was restarted, run nbferry.resume().");
  });

  it("and the kernel are not missed at the end", () => {
    draw(viewOf({ state: "done", can: [] }), { reach: { by: "none" } });
    expect(card.text).not.toContain("does not answer");
  });
});

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
    expect(card.text).not.toContain("7-walnut-ribbon");
  });
});

describe("an offer", () => {
  const offer = (): Parameters<typeof viewOf> => [
    {
      role: "receive",
      state: "offered",
      verified: 0,
      files: 2,
      can: ["accept", "reject"],
      rows: [
        ["a", 1, 0, 0],
        ["b", 2, 0, 0],
      ],
    },
    { kind: "receive" },
  ];

  it("lists names and sizes without bars", () => {
    draw(viewOf(...offer()));
    for (const fact of ["a", "1 B", "b", "2 B"]) expect(card.text.split(/(?<=\D) /)).toContain(fact);
    expect(() => card.role("progressbar")).toThrow();
  });

  it("is accepted by a button", () => {
    const ferry = draw(viewOf(...offer()));
    card.click("Accept");
    expect(ferry.told).toEqual(["accept"]);
  });

  it("is rejected without a reason by one click", () => {
    const ferry = draw(viewOf(...offer()));
    card.click("Reject");
    expect(ferry.told).toEqual(["reject"]);
  });

  it("is rejected with the reason that was typed", () => {
    const ferry = draw(viewOf(...offer()));
    const input = card.one(card.root, "input[type=text]:not([id])") as HTMLInputElement;
    input.value = " wrong month ";
    card.click("Reject");
    expect(ferry.told).toEqual(["reject wrong month"]);
  });
});

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

  it("that was refused by the view shows why, once", () => {
    const ferry = draw(viewOf(null, { kind: "receive", error: "This code has expired." }));
    expect(card.role("alert").textContent).toContain("This code has expired.");
    card.click("Dismiss");
    ferry.show(ferry.view);
    expect(card.text).not.toContain("expired");
  });
});

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

describe("saving", () => {
  it("shows what is saved, how far it is, and how it ended", async () => {
    const ended = new Later<"saved">();
    const saving: FakeFerry["saving"] = (progress) => {
      progress(250, 1000);
      return ended.promise;
    };
    draw(viewOf(null, { kind: "download", what: "model.ckpt" }), { saving });
    expect(card.text).toContain("model.ckpt");
    card.button("Save").focus();
    card.click("Save");
    expect(card.role("progressbar", "Saving").getAttribute("aria-valuenow")).toBe("25");
    expect(document.activeElement).toBe(card.button("Cancel"));
    ended.resolve("saved");
    await settled();
    expect(card.text).toContain("Saved to this computer.");
  });

  it("is stopped by Cancel, without an error", async () => {
    const saving: FakeFerry["saving"] = (_progress, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("stopped"))));
    draw(viewOf(null, { kind: "download", what: "model.ckpt" }), { saving });
    card.click("Save");
    card.click("Cancel");
    await settled();
    expect(card.buttons).toEqual(["Save"]);
    expect(card.text).not.toContain("stopped");
  });

  it("is offered by a transfer that can be saved", () => {
    draw(viewOf({ role: "receive", state: "done", can: ["save"] }, { kind: "receive" }));
    expect(card.buttons).toEqual(["Save"]);
  });

  it("that is refused shows why", async () => {
    draw(viewOf(null, { kind: "download" }), {
      saving: async () => Promise.reject(new Refusal("x", "Disk full.")),
    });
    card.click("Save");
    await settled();
    expect(card.role("alert").textContent).toContain("Disk full.");
  });
});

describe("files that are needed again", () => {
  const needed = () => viewOf({ role: "upload", state: "paused", needs_files: true }, { kind: "upload" });

  it("are gone on with by one click where they are remembered", () => {
    const ferry = draw(needed(), { remembered: true });
    card.click("Go on with the same files");
    expect(ferry.told).toEqual(["lend"]);
  });

  it("are chosen again where they are not", () => {
    draw(needed());
    expect(card.buttons).toContain("Choose the same files again");
    expect(card.buttons).not.toContain("Go on with the same files");
  });
});

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

describe("before anything is chosen", () => {
  const buttons: Record<Kind, string[]> = {
    send: ["Choose files", "Choose a folder", "Files of the kernel"],
    upload: ["Choose files", "Choose a folder"],
    receive: ["Receive"],
    download: ["Save"],
  };
  it.each(Object.entries(buttons))("a %s has its buttons", (kind, names) => {
    draw(viewOf(null, { kind: kind as Kind }));
    expect(card.buttons).toEqual(names);
  });
});
