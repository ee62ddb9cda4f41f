/** A card for each test, with a clock that the test moves; taken away after it. */

import { afterEach, beforeEach, vi } from "vitest";
import type { View } from "../../src/types";
import { Drawn, FakeFerry } from "./fake";

/** The card that was drawn last. */
export let card: Drawn;

/** Draw a view; `some` is how its ferry is otherwise. */
export function draw(view: View, some: Partial<FakeFerry> = {}): FakeFerry {
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
