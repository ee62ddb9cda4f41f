/** The widget as a host loads it. The host calls this once for each model; all views of a model share one ferry. */

import workerSource from "inline:./worker";
import type { AnyModel } from "@anywidget/types";
import { wallClock } from "./clock";
import { PageFerry } from "./ferry";
import { Hands, workerOf } from "./hands";
import { KeptHandles } from "./kept";
import { thisBrowser } from "./save";
import { findServer, hasLines, lineUrl, type Server } from "./server";
import { drawCard } from "./ui/card";

interface Hook {
  model: AnyModel;
  /** Older hosts have no signal; they call what the hooks return. */
  signal?: AbortSignal;
}

export default () => {
  let ferry: PageFerry | null = null;
  return {
    initialize({ model, signal }: Hook) {
      ferry = board(model);
      return ended(signal, leaving(ferry));
    },
    render({ model, el, signal }: Hook & { el: HTMLElement }) {
      ferry ??= board(model);
      return ended(signal, drawCard(el, ferry));
    },
  };
};

function board(model: AnyModel): PageFerry {
  const server = findServer();
  const ferry = new PageFerry(model, {
    page: freshName(),
    language: document.documentElement.lang || navigator.language,
    clock: wallClock,
    hands: new Hands(() => workerOf(workerSource)),
    kept: new KeptHandles(),
    browser: thisBrowser,
    server,
    findLine: () => findLine(server, model),
  });
  ferry.start();
  return ferry;
}

async function findLine(server: Server | null, model: AnyModel): Promise<(() => WebSocket) | null> {
  // A model does not reveal its own id.
  const name: unknown = model.get("_line");
  if (!server || typeof name !== "string" || name === "") return null;
  return (await hasLines(server)) ? () => new WebSocket(lineUrl(server, name)) : null;
}

/** Listens to events of the page; returns a function that stops that. */
function leaving(ferry: PageFerry): () => void {
  const listening = new AbortController();
  const { signal } = listening;
  window.addEventListener("pagehide", () => ferry.leave(), { signal });
  window.addEventListener("pageshow", ({ persisted }) => persisted && ferry.cameBack(), { signal });
  window.addEventListener("online", () => ferry.cameBack(), { signal });
  return () => {
    listening.abort();
    ferry.close();
  };
}

/** Makes a function that runs once: by the signal, or by a host without signals. */
function ended(signal: AbortSignal | undefined, end: () => void): () => void {
  let over = false;
  const once = () => {
    if (!over) end();
    over = true;
  };
  signal?.addEventListener("abort", once, { once: true });
  return once;
}

function freshName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
