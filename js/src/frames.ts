/** A message is a JSON object and at most one buffer. On a line: `u32 length of the JSON | JSON | buffer`. */

export type Bytes = Uint8Array<ArrayBuffer>;
export type Message = Record<string, unknown>;

export const NO_BYTES: Bytes = new Uint8Array(0);

const LENGTH_BYTES = 4;

/** Packs messages into the same memory; each is valid until the next one is packed. */
export class Packer {
  private memory: Bytes = new Uint8Array(4096);

  pack(message: Message, buffer: Bytes = NO_BYTES): Bytes {
    const json = new TextEncoder().encode(JSON.stringify(message));
    const length = LENGTH_BYTES + json.length + buffer.length;
    if (this.memory.length < length) this.memory = new Uint8Array(2 * length);
    const packed = this.memory.subarray(0, length);
    new DataView(packed.buffer).setUint32(0, json.length);
    packed.set(json, LENGTH_BYTES);
    packed.set(buffer, LENGTH_BYTES + json.length);
    return packed;
  }
}

/** The message, and its buffer as a view of the same memory; null if invalid. */
export function unpack(data: ArrayBuffer): { message: Message; buffer: Bytes } | null {
  if (data.byteLength < LENGTH_BYTES) return null;
  const end = LENGTH_BYTES + new DataView(data).getUint32(0);
  if (end > data.byteLength) return null;
  const message = parsed(new Uint8Array(data, LENGTH_BYTES, end - LENGTH_BYTES));
  return message && { message, buffer: new Uint8Array(data, end) };
}

function parsed(json: Bytes): Message | null {
  try {
    const message: unknown = JSON.parse(new TextDecoder().decode(json));
    return isMessage(message) ? message : null;
  } catch {
    return null;
  }
}

export function isMessage(value: unknown): value is Message {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The bytes of a buffer from a host, often a view into something larger. */
export function bytesOf(buffer: ArrayBuffer | ArrayBufferView<ArrayBuffer>): Bytes {
  return buffer instanceof ArrayBuffer
    ? new Uint8Array(buffer)
    : new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** Split into pieces of at most `size` bytes, without copying; an empty input gives one empty piece. */
export function pieces(bytes: Bytes, size: number): Bytes[] {
  const cut: Bytes[] = [];
  for (let at = 0; at === 0 || at < bytes.length; at += size) cut.push(bytes.subarray(at, at + size));
  return cut;
}
