/** Numbers, sizes and times for a person: in English the same as nbferry.text.rendering (Python) writes. */

import { fill, type Plural, type Tongue } from "./strings";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

export class Format {
  private readonly rules: Intl.PluralRules;
  private readonly whole: Intl.NumberFormat;

  constructor(private readonly tongue: Tongue) {
    this.rules = new Intl.PluralRules(tongue.language);
    this.whole = new Intl.NumberFormat(tongue.language);
  }

  count(n: number): string {
    return this.whole.format(n);
  }

  plural(forms: Plural, n: number): string {
    return fill(forms[this.rules.select(n)] ?? forms.other, { n: this.count(n) });
  }

  /** `3.1 GB`: powers of ten, as for rates and disks. */
  size(bytes: number): string {
    let at = 0;
    let value = bytes;
    while (value >= 999.5 && at < UNITS.length - 1) {
      value /= 1000;
      at += 1;
    }
    return `${this.fixed(value, at === 0 || value >= 99.5 ? 0 : 1)} ${UNITS[at] ?? ""}`;
  }

  rate(bytes: number): string {
    return fill(this.tongue.text.rate, { size: this.size(bytes) });
  }

  /** `45 s`, `3 min 20 s`, `2 h 5 min`. */
  duration(seconds: number): string {
    const whole = Number(rounded(seconds, 0));
    if (whole < 60) return `${this.count(whole)} s`;
    const minutes = Math.floor(whole / 60);
    if (minutes < 60) return `${this.count(minutes)} min ${this.count(whole % 60)} s`;
    return `${this.count(Math.floor(minutes / 60))} h ${this.count(minutes % 60)} min`;
  }

  percent(n: number): string {
    return fill(this.tongue.text.percent, { n: this.count(n) });
  }

  date(ms: number): string {
    return new Intl.DateTimeFormat(this.tongue.language, { dateStyle: "medium", timeStyle: "short" }).format(
      ms,
    );
  }

  /** `14:03:10` */
  time(ms: number): string {
    return new Intl.DateTimeFormat(this.tongue.language, { timeStyle: "medium" }).format(ms);
  }

  private fixed(value: number, digits: number): string {
    const format = { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false };
    return new Intl.NumberFormat(this.tongue.language, format).format(Number(rounded(value, digits)));
  }
}

/** Rounds like Python: like `toFixed`, but exact halves go to the even neighbour. With one digit only a quarter is such a half. */
function rounded(value: number, digits: 0 | 1 | number): string {
  const rest = value % 1;
  if (digits === 0 && rest === 0.5) return String(2 * Math.round(value / 2));
  if (digits === 1 && rest === 0.25) return (value - 0.05).toFixed(1);
  return value.toFixed(digits);
}

/** A part in whole percent, at most 100; of an empty whole, 0 or 100. */
export function share(part: number, all: number, complete: boolean): number {
  if (all <= 0) return complete ? 100 : 0;
  return Math.min(100, Math.max(0, Math.floor((part * 100) / all)));
}

const UNSEEN = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]/gu;

/** A name with invisible and direction-changing characters spelled out, as Python does it. */
export function visible(name: string): string {
  return name.replace(UNSEEN, (char) => {
    const code = (char.codePointAt(0) ?? 0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
  });
}

/** A name for the middle of a sentence or an attribute; its direction affects nothing else. */
export function isolated(name: string): string {
  return `\u2068${visible(name)}\u2069`;
}
