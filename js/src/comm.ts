/** The comm as a carrier: custom messages of the widget. It is always available, but a busy kernel reads late and a server may lose messages. */

import type { AnyModel } from "@anywidget/types";
import type { Carrier } from "./calls";
import { type Bytes, bytesOf, isMessage, type Message, NO_BYTES } from "./frames";

export type Received = (carrier: Carrier, message: Message, buffer: Bytes) => void;

export class Comm implements Carrier {
  readonly kind = "comm";
  readonly part = 512 * 1024;
  private readonly stop: () => void;

  constructor(
    private readonly model: AnyModel,
    received: Received,
  ) {
    const hear = (message: unknown, buffers?: ArrayBufferView<ArrayBuffer>[]) => {
      const [buffer] = buffers ?? [];
      if (isMessage(message)) received(this, message, buffer ? bytesOf(buffer) : NO_BYTES);
    };
    model.on("msg:custom", hear);
    this.stop = () => model.off("msg:custom", hear);
  }

  async send(message: Message, buffer: Bytes): Promise<void> {
    const { byteOffset, length } = buffer;
    // A copy, because hosts treat views differently.
    const own = buffer.buffer.slice(byteOffset, byteOffset + length);
    this.model.send(message, undefined, length > 0 ? [own] : []);
  }

  close(): void {
    this.stop();
  }
}
