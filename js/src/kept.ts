/** Keeps handles of offered files across a reload, in the browser's own database, by transfer. */

import type { Picked } from "./types";

/** A file as it was when it was offered. */
export interface Known {
  path: string;
  size: number;
  mtime: number;
}

interface Kept {
  id: string;
  handles: FileSystemHandle[];
  files: Known[];
  since: number;
}

const DATABASE = "nbferry";
const STORE = "picked";
const DAYS = 7;

/** Without a usable database nothing is kept, and a person must choose the files again. */
export class KeptHandles {
  private opened: Promise<IDBDatabase> | null = null;

  constructor(private readonly factory: IDBFactory | null = globalThis.indexedDB ?? null) {}

  /** Keep the handles of these files; false if that is impossible. */
  async keep(id: string, picked: readonly Picked[]): Promise<boolean> {
    const handles = rootsOf(picked);
    if (!handles) return false;
    const record: Kept = { id, handles, files: known(picked), since: Date.now() };
    return (await this.attempt("readwrite", (store) => store.put(record))) !== null;
  }

  async find(id: string): Promise<{ handles: FileSystemHandle[]; files: Known[] } | null> {
    const kept = await this.attempt<Kept | undefined>("readonly", (store) => store.get(id));
    return kept ?? null;
  }

  async forget(id: string): Promise<void> {
    await this.attempt("readwrite", (store) => store.delete(id));
  }

  private async attempt<T>(
    mode: IDBTransactionMode,
    act: (store: IDBObjectStore) => IDBRequest<T>,
  ): Promise<T | null> {
    try {
      this.opened ??= this.open();
      const database = await this.opened;
      return await settled(act(database.transaction(STORE, mode).objectStore(STORE)));
    } catch {
      // Private windows, blocked storage, handles that cannot be stored.
      return null;
    }
  }

  private async open(): Promise<IDBDatabase> {
    if (!this.factory) throw new Error("There is no database.");
    const request = this.factory.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    const database = await settled(request);
    database.onversionchange = () => database.close();
    sweep(database);
    return database;
  }
}

/** Files kept for transfers that have not ended. */
function sweep(database: IDBDatabase): void {
  const oldest = Date.now() - DAYS * 24 * 3600 * 1000;
  const cursor = database.transaction(STORE, "readwrite").objectStore(STORE).openCursor();
  cursor.onsuccess = () => {
    const at = cursor.result;
    if (!at) return;
    if ((at.value as Kept).since < oldest) at.delete();
    at.continue();
  };
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** The handles that lead to all of these files; null if one has none. */
function rootsOf(picked: readonly Picked[]): FileSystemHandle[] | null {
  const roots = new Map<string, FileSystemHandle>();
  for (const { path, handle } of picked) if (handle && !path.includes("/")) roots.set(path, handle);
  const covered = picked.every(({ path }) => roots.has(path.split("/", 1)[0] ?? ""));
  return covered && roots.size > 0 ? [...roots.values()] : null;
}

export function known(picked: readonly Picked[]): Known[] {
  return picked.flatMap(({ path, file }) =>
    file ? [{ path, size: file.size, mtime: file.lastModified }] : [],
  );
}

/** The offered files that are missing here, and those that have changed. */
export function matches(
  offered: readonly Known[],
  picked: readonly Picked[],
): { missing: string[]; different: string[] } {
  const files = new Map(known(picked).map((file) => [file.path, file]));
  const missing: string[] = [];
  const different: string[] = [];
  for (const { path, size, mtime } of offered) {
    const found = files.get(path);
    if (!found) missing.push(path);
    else if (found.size !== size || found.mtime !== mtime) different.push(path);
  }
  return { missing, different };
}
