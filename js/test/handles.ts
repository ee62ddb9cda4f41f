/** Files and folders of a machine, as a browser shows them to a page; all in memory. */

export class TestFile {
  readonly kind = "file";
  written = 0;

  constructor(
    readonly name: string,
    public content: Uint8Array<ArrayBuffer> | null = new Uint8Array(0),
    private readonly remover: () => void = () => undefined,
  ) {}

  async getFile(): Promise<File> {
    if (!this.content) throw new DOMException("no", "NotReadableError");
    return new File([this.content], this.name, { lastModified: 7 });
  }

  async createWritable(): Promise<unknown> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    return {
      write: async (part: Uint8Array<ArrayBuffer>) => void parts.push(part.slice()),
      close: async () => {
        this.content = new Uint8Array(await new Blob(parts).arrayBuffer());
        this.written++;
      },
      abort: async () => undefined,
    };
  }

  async remove(): Promise<void> {
    this.remover();
  }
}

export class TestFolder {
  readonly kind = "directory";
  readonly children = new Map<string, TestFile | TestFolder>();

  constructor(
    readonly name: string,
    ...children: (TestFile | TestFolder)[]
  ) {
    for (const child of children) this.children.set(child.name, child);
  }

  async *values(): AsyncGenerator<TestFile | TestFolder> {
    yield* this.children.values();
  }

  async *keys(): AsyncGenerator<string> {
    yield* this.children.keys();
  }

  async getDirectoryHandle(name: string): Promise<TestFolder> {
    const found = this.children.get(name) ?? new TestFolder(name);
    this.children.set(name, found);
    if (!(found instanceof TestFolder)) throw new DOMException("no", "TypeMismatchError");
    return found;
  }

  async getFileHandle(name: string): Promise<TestFile> {
    const found =
      this.children.get(name) ?? new TestFile(name, new Uint8Array(0), () => this.children.delete(name));
    this.children.set(name, found);
    if (!(found instanceof TestFile)) throw new DOMException("no", "TypeMismatchError");
    return found;
  }

  async removeEntry(name: string): Promise<void> {
    if (!this.children.delete(name)) throw new DOMException("no", "NotFoundError");
  }

  /** Every file below, by path, with its size. */
  sizes(above = ""): Record<string, number> {
    const all: Record<string, number> = {};
    for (const child of this.children.values()) {
      if (child instanceof TestFile) all[above + child.name] = child.content?.length ?? -1;
      else Object.assign(all, child.sizes(`${above}${child.name}/`));
    }
    return all;
  }
}

/** To a page it is a handle like any other. */
export function handle<T extends FileSystemHandle>(it: TestFile | TestFolder): T {
  return it as unknown as T;
}
