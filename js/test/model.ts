import type { AnyModel } from "@anywidget/types";
import type { Message } from "../src/frames";

type Listener = (...args: unknown[]) => void;

/** A model as a host hands it to a widget, with a kernel behind it that a test plays. */
export class TestModel {
  readonly said: Message[] = [];
  readonly traits: Record<string, unknown> = { _line: "a".repeat(32) };
  /** What the kernel does with a message; unless it returns nothing, that is its answer. */
  kernel: (message: Message) => Message | undefined = () => undefined;
  private readonly listeners = new Map<string, Set<Listener>>();

  get asModel(): AnyModel {
    return this as unknown as AnyModel;
  }

  get listening(): number {
    return [...this.listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }

  get(name: string): unknown {
    return this.traits[name];
  }

  on(name: string, listener: Listener): void {
    this.listeners.set(name, (this.listeners.get(name) ?? new Set()).add(listener));
  }

  off(name: string, listener: Listener): void {
    this.listeners.get(name)?.delete(listener);
  }

  send(message: Message): void {
    this.said.push(message);
    const answer = this.kernel(message);
    if (answer) queueMicrotask(() => this.says({ page: message.page, re: message.id, ...answer }));
  }

  says(message: Message, ...buffers: DataView[]): void {
    for (const listener of this.listeners.get("msg:custom") ?? []) listener(message, buffers);
  }

  shows(view: unknown): void {
    this.traits.view = view;
    for (const listener of this.listeners.get("change:view") ?? []) listener();
  }

  ops(): unknown[] {
    return this.said.map(({ op }) => op);
  }
}
