// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { Refusal } from "../../src/types";
import { card, draw } from "./drawing";
import { type FakeFerry, Later, settled, viewOf } from "./fake";

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
