/** Saves files of the kernel to this machine, in the best way that the browser offers. */

import { type KernelFile, type Means, pull, type Target } from "./pull";
import { downloadUrl, type Server } from "./server";
import { FileTarget, FolderTarget, lastName, MemoryTarget } from "./targets";
import { Refusal } from "./types";

export type Saved = "saved" | "downloading" | "dismissed";
export type Progress = (done: number, total: number) => void;

/** The part of the browser that is used. */
export interface Browser {
  showSaveFilePicker?: Window["showSaveFilePicker"];
  showDirectoryPicker?: Window["showDirectoryPicker"];
  /** Whether a click was recent; without one the browser opens no dialog. */
  clicked(): boolean;
  /** Start the browser's own download. */
  download(url: string, name: string): void;
}

const MOST_IN_MEMORY = 512 * 1024 * 1024;
// At once; with more, browsers ask or drop some.
const MOST_DOWNLOADS = 10;

/** Call it from a click. Rejects with Refusal or the signal's reason. */
export async function save(
  files: readonly KernelFile[],
  browser: Browser,
  server: Server | null,
  means: Means,
  progress: Progress,
  signal: AbortSignal,
): Promise<Saved> {
  if (files.length === 0) throw new Refusal("nothing", "There is nothing to save.");
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const pulled = (target: Target) => pull(files, target, means, (done) => progress(done, total), signal);
  const target = await choose(files, browser);
  if (target === "dismissed") return target;
  signal.throwIfAborted();
  if (target) {
    await pulled(target);
    return "saved";
  }
  if (files.length > MOST_DOWNLOADS) throw cannot("a folder");
  if (server && files.every(({ url }) => url !== "")) {
    for (const { url, path } of files) browser.download(downloadUrl(server, url), lastName(path));
    return "downloading";
  }
  if (total > MOST_IN_MEMORY) throw cannot("more than 512 MiB");
  await pulled(new MemoryTarget(browser.download));
  return "downloading";
}

/** Ask a person for the destination; null where the browser has no such dialog. */
async function choose(files: readonly KernelFile[], browser: Browser): Promise<Target | "dismissed" | null> {
  const [only] = files;
  const alone = files.length === 1 && only && !only.path.includes("/") ? only : null;
  try {
    if (alone && browser.showSaveFilePicker) {
      return new FileTarget(await browser.showSaveFilePicker({ suggestedName: lastName(alone.path) }));
    }
    if (!browser.showDirectoryPicker) return null;
    return new FolderTarget(await browser.showDirectoryPicker({ id: "nbferry", mode: "readwrite" }));
  } catch (error) {
    const name = error instanceof DOMException ? error.name : "";
    if (name === "AbortError") return "dismissed";
    if (!browser.clicked()) {
      throw new Refusal(
        "click",
        "The kernel took too long, so the browser needs a new click.",
        "Click Save again.",
      );
    }
    // Not allowed in this frame.
    return null;
  }
}

function cannot(what: string): Refusal {
  return new Refusal(
    "browser",
    `This browser cannot save ${what} from here.`,
    "Open the notebook in Chrome or Edge at an https address or on localhost, or copy the file from the kernel's folder.",
  );
}

/** The real browser. */
export const thisBrowser: Browser = {
  get showSaveFilePicker() {
    return window.showSaveFilePicker?.bind(window);
  },
  get showDirectoryPicker() {
    return window.showDirectoryPicker?.bind(window);
  },
  clicked: () => navigator.userActivation?.isActive ?? true,
  download(url, name) {
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.hidden = true;
    document.body.append(link);
    link.click();
    link.remove();
  },
};
