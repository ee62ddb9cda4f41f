import { expect, test } from "vitest";
import { Budget } from "../src/budget";
import { settle } from "./clock";

test("who wants more than is left waits in turn, though a smaller one behind would fit", async () => {
  const budget = new Budget(10);
  const order: string[] = [];
  const take = async (name: string, size: number) => {
    const release = await budget.take(size);
    order.push(name);
    return release;
  };
  const releases = [await take("a", 6)];
  const waiting = [take("b", 6), take("c", 1)];
  await settle();
  expect(order).toEqual(["a"]);
  releases[0]?.();
  releases[0]?.(); // a second time counts for nothing
  await Promise.all(waiting);
  expect(order).toEqual(["a", "b", "c"]);
  const late = take("d", 4);
  await settle();
  expect(order).toHaveLength(3);
  (await waiting[1])?.();
  await late;
});

test("one that is larger than everything goes alone", async () => {
  const budget = new Budget(10);
  const release = await budget.take(100);
  let gone = false;
  const next = budget.take(1).then(() => {
    gone = true;
  });
  await settle();
  expect(gone).toBe(false);
  release();
  await next;
});
