// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { card, draw } from "./drawing";
import { viewOf } from "./fake";

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
