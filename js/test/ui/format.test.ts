import { describe, expect, it } from "vitest";
import { Format, isolated, share, visible } from "../../src/ui/format";
import { fill, tongue } from "../../src/ui/strings";

const format = new Format(tongue("en"));

describe("sizes and times", () => {
  /** Of nbferry.text.rendering, so that a card and a terminal say the same. */
  const sizes: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [1050, "1.1 kB"],
    [1150, "1.1 kB"],
    [1250, "1.2 kB"],
    [1350, "1.4 kB"],
    [1750, "1.8 kB"],
    [9950, "9.9 kB"],
    [99_449, "99.4 kB"],
    [99_450, "99.5 kB"],
    [99_500, "100 kB"],
    [999_499, "999 kB"],
    [999_500, "1.0 MB"],
    [3_100_000_000, "3.1 GB"],
    [2_250_000_000_000, "2.2 TB"],
    [987_654_321_000_000, "988 TB"],
    [1.5e18, "1500 PB"],
    [0.5, "0 B"],
    [1.5, "2 B"],
    [2.5, "2 B"],
  ];
  it.each(sizes)("%d bytes are what Python says", (bytes, said) => {
    expect(format.size(bytes)).toBe(said);
  });

  const times: [number, string][] = [
    [0.5, "0 s"],
    [1.5, "2 s"],
    [2.5, "2 s"],
    [45, "45 s"],
    [59.5, "1 min 0 s"],
    [200, "3 min 20 s"],
    [3599.4, "59 min 59 s"],
    [3600, "1 h 0 min"],
    [7500, "2 h 5 min"],
    [90_061, "25 h 1 min"],
  ];
  it.each(times)("%d seconds are what Python says", (seconds, said) => {
    expect(format.duration(seconds)).toBe(said);
  });

  it("a share is whole percent, rounded down, and never above all of it", () => {
    expect(share(999, 1000, false)).toBe(99);
    expect(share(1200, 1000, false)).toBe(100);
  });

  it("a share of nothing is all of it once it is complete", () => {
    expect([share(0, 0, false), share(0, 0, true)]).toEqual([0, 100]);
  });
});

describe("words", () => {
  it("a plural has its form and its number", () => {
    const forms = tongue("en").text.files;
    expect(format.plural(forms, 1)).toBe("1 file");
    expect(format.plural(forms, 3412)).toBe("3,412 files");
  });

  it("a language without a translation reads English, with English numbers", () => {
    expect(tongue("de").language).toBe("en");
  });

  it("a kind of English writes its own numbers", () => {
    expect(tongue("en-GB").language).toBe("en-GB");
  });

  it("what is no language at all reads English", () => {
    expect(tongue("not a language").language).toBe("en");
  });

  it("a text is filled in once: what a name has in braces stays", () => {
    expect(fill("{a} and {b}", { a: "{b}", b: "x" })).toBe("{b} and x");
  });
});

describe("names", () => {
  it("what turns the direction is spelled out", () => {
    expect(visible("evil\u202egnp.exe")).toBe("evil\\u202egnp.exe");
  });

  it("control characters are spelled out", () => {
    expect(visible("a\nb\x1b")).toBe("a\\x0ab\\x1b");
  });

  it("joiners stay, as Persian cannot be read without", () => {
    expect(visible("می\u200cخواهم")).toBe("می\u200cخواهم");
  });

  it("a name in a sentence keeps its direction to itself", () => {
    expect(isolated("a")).toBe("\u2068a\u2069");
  });
});
