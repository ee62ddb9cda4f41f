// @vitest-environment happy-dom
import { beforeEach, expect, test } from "vitest";
import widget from "../src/index";
import { NO_VIEW } from "../src/view";
import { TestModel } from "./model";

let model: TestModel;

beforeEach(() => {
  model = new TestModel();
  model.traits.view = { ...NO_VIEW, seq: 1, kind: "upload" };
});

test("a host that has signals ends views and model by them; all views share one page", () => {
  const made = widget();
  const [life, first, second] = [new AbortController(), new AbortController(), new AbortController()];
  const el = document.createElement("div");
  made.initialize({ model: model.asModel, signal: life.signal });
  made.render({ model: model.asModel, el, signal: first.signal });
  made.render({ model: model.asModel, el, signal: second.signal });
  expect(el.querySelectorAll("section.nbferry")).toHaveLength(2);
  first.abort();
  expect(el.querySelectorAll("section.nbferry")).toHaveLength(1);
  second.abort();
  life.abort();
  expect(el.childElementCount).toBe(0);
  expect(model.ops()).toEqual(["hello", "bye"]);
  expect(model.listening).toBe(0);
});

test("a host that has none calls what the hooks return", () => {
  const made = widget();
  const el = document.createElement("div");
  const over = made.initialize({ model: model.asModel });
  const away = made.render({ model: model.asModel, el });
  away();
  over();
  over();
  expect([el.childElementCount, model.ops()]).toEqual([0, ["hello", "bye"]]);
});

test("two models have nothing in common", () => {
  const another = new TestModel();
  widget().initialize({ model: model.asModel });
  widget().initialize({ model: another.asModel });
  expect(model.said[0]?.page).toMatch(/^[0-9a-f]{16}$/);
  expect(another.said[0]?.page).not.toBe(model.said[0]?.page);
});

test("when the page goes away the kernel hears of it, and when it comes back too", () => {
  const over = widget().initialize({ model: model.asModel });
  window.dispatchEvent(new Event("pagehide"));
  window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  expect(model.ops()).toEqual(["hello", "bye", "hello"]);
  over();
  window.dispatchEvent(new Event("pagehide"));
  expect(model.ops()).toEqual(["hello", "bye", "hello", "bye"]);
});
