import { beforeEach, expect, test, vi } from "vitest";
import { Pulse } from "../src/pulse";
import { TestClock } from "./clock";

let clock: TestClock;
let pulse: Pulse;
let look: ReturnType<typeof vi.fn<(signal: AbortSignal) => Promise<void>>>;
let changed: ReturnType<typeof vi.fn<() => void>>;
let final: boolean;
let resting: boolean;

beforeEach(() => {
  clock = new TestClock();
  look = vi.fn(() => new Promise<void>(() => undefined));
  changed = vi.fn();
  final = resting = false;
  pulse = new Pulse(clock, { look, changed, isFinal: () => final, isResting: () => resting });
  pulse.start();
});

test("the kernel is asked when no view came for 5 s, and not while they come", async () => {
  for (let n = 0; n < 5; n++) {
    await clock.pass(4000);
    pulse.saw(true);
  }
  expect(look).not.toHaveBeenCalled();
  await clock.pass(5000);
  expect(look).toHaveBeenCalledOnce();
});

test("nobody is there if there is no answer for 20 s; whatever comes then shows that somebody is", async () => {
  await clock.pass(24_900);
  expect(pulse.silent).toBe(false);
  await clock.pass(200);
  expect(pulse.silent).toBe(true);
  expect(changed).toHaveBeenCalledOnce();
  pulse.alive();
  expect(pulse.silent).toBe(false);
  expect(changed).toHaveBeenCalledTimes(2);
});

test("something else that comes while a view is waited for is a sign of life too", async () => {
  await clock.pass(20_000);
  pulse.alive();
  await clock.pass(15_000);
  expect(pulse.silent).toBe(false);
});

test("a question is over once a view comes, and a refusal is an answer as well", async () => {
  await clock.pass(5000);
  expect(look.mock.calls[0]?.[0].aborted).toBe(false);
  pulse.saw(true);
  expect(look.mock.calls[0]?.[0].aborted).toBe(true);
  look.mockRejectedValueOnce(new Error("no"));
  await clock.pass(5000 + 19_000);
  expect(pulse.silent).toBe(false);
});

test("while nothing is expected it is asked less and less often, up to once a minute", async () => {
  resting = true;
  const at: number[] = [];
  look.mockImplementation(async () => {
    at.push(clock.now());
    pulse.saw(false);
  });
  await clock.pass(200_000);
  expect(at.map((time, n) => time - (at[n - 1] ?? 0))).toEqual([
    5000, 10_000, 20_000, 40_000, 60_000, 60_000,
  ]);
  at.length = 0;
  pulse.saw(true);
  await clock.pass(5000);
  expect(at).toHaveLength(1);
});

test("what is over is not asked about", async () => {
  final = true;
  pulse.saw(true);
  await clock.pass(100_000);
  expect(look).not.toHaveBeenCalled();
  expect(clock.pending).toBe(0);
});

test("after close nothing waits", async () => {
  await clock.pass(5000);
  pulse.close();
  expect(clock.pending).toBe(0);
  pulse.saw(true);
  expect(clock.pending).toBe(0);
});
