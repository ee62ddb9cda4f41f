// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { KernelEntry, KernelFolder } from "../../src/types";
import { Drawn, FakeFerry, settled, viewOf } from "./fake";

const entry = (path: string, size: number | null): KernelEntry => ({
  name: path.split("/").at(-1) ?? "",
  path,
  size: size ?? 0,
  mtime: 1_700_000_000_000,
  folder: size === null,
});

const WORK: KernelFolder = {
  folder: "/home/work",
  parent: "/home",
  entries: [entry("/home/work/data", null), entry("/home/work/a.csv", 1500), entry("/home/work/b.csv", 500)],
  more: 0,
};
const DATA: KernelFolder = {
  folder: "/home/work/data",
  parent: "/home/work",
  entries: [entry("/home/work/data/x.csv", 1)],
  more: 3,
};
const HOME: KernelFolder = { folder: "/home", parent: "/", entries: [entry("/home/work", null)], more: 0 };

let ferry: FakeFerry;
let card: Drawn;

const boxes = () => [...card.root.querySelectorAll<HTMLInputElement>("input[type=checkbox]")];
const names = () => boxes().map((box) => box.getAttribute("aria-label"));
const focused = () => document.activeElement?.getAttribute("aria-label");

function tick(name: string): void {
  boxes()
    .find((box) => box.getAttribute("aria-label") === name)
    ?.click();
}

async function press(key: string): Promise<void> {
  document.activeElement?.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }),
  );
  await settled();
}

beforeEach(async () => {
  ferry = new FakeFerry(viewOf(null));
  ferry.folders = { "": WORK, [WORK.folder]: WORK, [DATA.folder]: DATA, [HOME.folder]: HOME };
  card = new Drawn(ferry);
  card.click("The kernel's files");
  await settled();
});

afterEach(() => {
  card.close();
  document.body.replaceChildren();
});

describe("the kernel's files", () => {
  it("begin where the kernel is", () => {
    expect(ferry.told).toEqual(["list null"]);
    expect(names()).toEqual(["data (folder)", "a.csv", "b.csv"]);
  });

  it("are sent with their count and size told before", () => {
    tick("a.csv");
    tick("b.csv");
    expect(card.text).toContain("2 files (2.0 kB)");
    card.click("Send");
    expect(ferry.told.at(-1)).toBe("send /home/work/a.csv /home/work/b.csv");
  });

  it("may be whole folders", () => {
    tick("data (folder)");
    tick("a.csv");
    expect(card.text).toContain("1 file (1.5 kB) and 1 folder");
  });

  it("are not sent while nothing is chosen", () => {
    card.click("Send");
    expect(ferry.told).toEqual(["list null"]);
    expect(card.button("Send").getAttribute("aria-disabled")).toBe("true");
  });

  it("stay chosen while other folders are looked at", async () => {
    tick("a.csv");
    card.click("data");
    await settled();
    tick("x.csv");
    expect(card.text).toContain("2 files");
  });

  it("in a chosen folder are chosen with it, once", async () => {
    card.click("data");
    await settled();
    tick("x.csv");
    card.click("work");
    await settled();
    tick("data (folder)");
    card.click("data");
    await settled();
    expect(boxes().map((box) => [box.checked, box.disabled])).toEqual([[true, true]]);
    card.click("Send");
    expect(ferry.told.at(-1)).toBe("send /home/work/data");
  });

  it("tell how many are left out", async () => {
    card.click("data");
    await settled();
    expect(card.text).toContain("and 3 more, not shown");
  });

  it("can be closed, and the focus is back where it came from", () => {
    card.click("Close");
    expect(card.buttons).not.toContain("Close");
    expect(document.activeElement).toBe(card.button("The kernel's files"));
    expect(card.button("The kernel's files").getAttribute("aria-expanded")).toBe("false");
  });

  it("that cannot be listed leave the list as it was", async () => {
    ferry.folders = {};
    card.click("data");
    await settled();
    expect(card.role("alert").textContent).toContain("There is no such folder.");
    expect(names()).toEqual(["data (folder)", "a.csv", "b.csv"]);
  });
});

describe("by keyboard", () => {
  it("the list is one stop, and arrows move in it", async () => {
    expect(focused()).toBe("data (folder)");
    await press("ArrowDown");
    expect(focused()).toBe("a.csv");
    await press("End");
    expect(focused()).toBe("b.csv");
    await press("ArrowDown");
    expect(focused()).toBe("b.csv");
    await press("Home");
    expect(focused()).toBe("data (folder)");
    expect(boxes().map((box) => box.tabIndex)).toEqual([0, -1, -1]);
  });

  it.each(["Enter", "ArrowRight"])("%s opens a folder", async (key) => {
    await press(key);
    expect(names()).toEqual(["x.csv"]);
    expect(focused()).toBe("x.csv");
  });

  it("Enter ticks a file", async () => {
    await press("ArrowDown");
    await press("Enter");
    expect(boxes().map((box) => box.checked)).toEqual([false, true, false]);
  });

  it.each(["ArrowLeft", "Backspace"])("%s goes up, to the folder that it came from", async (key) => {
    await press("Enter");
    await press(key);
    expect(focused()).toBe("data (folder)");
    await press(key);
    expect(focused()).toBe("work (folder)");
  });
});

describe("the way from the top", () => {
  it("is a button for each folder but the one it is in", () => {
    const nav = card.one(card.root, "nav");
    expect([...nav.querySelectorAll("button")].map((one) => one.textContent)).toEqual([
      "Parent folder",
      "/",
      "home",
    ]);
    expect(card.one(nav, "[aria-current]").textContent).toBe("work");
  });

  it("leads there", async () => {
    card.click("home");
    await settled();
    expect(ferry.told.at(-1)).toBe("list /home");
  });

  it("knows drives", async () => {
    ferry.folders["/home/work/data"] = { folder: "C:\\Users\\me", parent: "C:\\Users", entries: [], more: 0 };
    ferry.folders["C:\\"] = { folder: "C:\\", parent: null, entries: [], more: 0 };
    card.click("data");
    await settled();
    card.click("C:");
    await settled();
    expect(ferry.told.at(-1)).toBe("list C:\\");
    expect(card.text).toContain("This folder is empty.");
  });
});
