import { afterEach, expect, test, vi } from "vitest";
import { findServer, hasLines, lineUrl } from "../src/server";

function page(config: unknown, href = "https://hub.example.org/user/ada/lab/tree/a.ipynb?reset"): Document {
  const textContent = typeof config === "string" ? config : JSON.stringify(config);
  const found = config === undefined ? null : { textContent };
  return {
    location: { href },
    getElementById: (id: string) => (id === "jupyter-config-data" ? found : null),
  } as unknown as Document;
}

const NAME = "a".repeat(32);

test("the page of a hub says where its server is, under the address by which it was reached", () => {
  const server = findServer(page({ baseUrl: "/user/ada/", wsUrl: "", token: "" }));
  expect(server?.base).toBe("https://hub.example.org/user/ada/");
  expect(server && lineUrl(server, NAME)).toBe(`wss://hub.example.org/user/ada/nbferry/page/${NAME}`);
});

test("sockets may have an address of their own, where a token takes the place of the cookie", () => {
  const server = findServer(page({ baseUrl: "/base", wsUrl: "wss://ws.example.org/base", token: "a b" }));
  expect(server?.base).toBe("https://hub.example.org/base/");
  expect(server && lineUrl(server, NAME)).toBe(`wss://ws.example.org/base/nbferry/page/${NAME}?token=a%20b`);
});

test("without TLS it is ws; with a cookie no token is in the address", () => {
  const server = findServer(page({ baseUrl: "/", token: "secret" }, "http://127.0.0.1:8888/lab"));
  expect(server && lineUrl(server, NAME)).toBe(`ws://127.0.0.1:8888/nbferry/page/${NAME}`);
});

test.each([
  ["says nothing", undefined],
  ["says nonsense", "{"],
  ["says no object", "3"],
  ["says no base", {}],
  ["is a file", { baseUrl: "file:///x/" }],
])("a page that %s has no server", (_, config) => {
  expect(findServer(page(config))).toBeNull();
});

afterEach(() => vi.unstubAllGlobals());

test.each<[string, Response, boolean]>([
  ["there with the extension", Response.json({ nbferry: "0.1.0", relay: 1, pages: 1 }), true],
  ["not there with an older one", Response.json({ nbferry: "0.1.0", relay: 1 }), false],
  ["not there without it", new Response("no", { status: 404 }), false],
  ["not there where something else answers", new Response("<html>"), false],
])("lines are %s", async (_, response, there) => {
  const asked = vi.fn(async (_url: string) => response);
  vi.stubGlobal("fetch", asked);
  const server = { base: "https://h/", sockets: "wss://h/", token: "t" };
  expect(await hasLines(server)).toBe(there);
  expect(asked).toHaveBeenCalledWith("https://h/nbferry/version");
});
