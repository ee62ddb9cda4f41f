import { expect, test } from "vitest";
import { type Bytes, bytesOf, type Message, Packer, pieces, unpack } from "../src/frames";

function packed(message: Message, buffer?: Bytes): ArrayBuffer {
  return new Packer().pack(message, buffer).slice().buffer;
}

test("what is packed is had back, names of all scripts and the buffer included", () => {
  const message = { op: "read", path: "Größe/数据.csv", "🚢": [1, null] };
  const found = unpack(packed(message, new Uint8Array([1, 2, 3])));
  expect(found?.message).toEqual(message);
  expect([...(found?.buffer ?? [])]).toEqual([1, 2, 3]);
});

test("the length in front is big-endian and counts the JSON's bytes", () => {
  expect([...new Uint8Array(packed({ ä: 1 })).subarray(0, 4)]).toEqual([0, 0, 0, 8]);
});

test.each([
  ["too short", [0, 0]],
  ["shorter than it says", [0, 0, 0, 9, 123, 125]],
  ["no JSON", [0, 0, 0, 1, 123]],
  ["no object", [0, 0, 0, 2, 91, 93]],
])("what makes no sense is nothing: %s", (_, bytes) => {
  expect(unpack(new Uint8Array(bytes).buffer)).toBeNull();
});

test("a view into something larger counts from where it begins", () => {
  const whole = new Uint8Array([9, 9, 1, 2, 9]);
  expect([...bytesOf(new DataView(whole.buffer, 2, 2))]).toEqual([1, 2]);
});

test("pieces are cut without copying, and nothing is one empty piece", () => {
  const whole = new Uint8Array(5);
  const cut = pieces(whole, 2);
  expect(cut.map(({ length }) => length)).toEqual([2, 2, 1]);
  expect(cut.every(({ buffer }) => buffer === whole.buffer)).toBe(true);
  expect(pieces(new Uint8Array(0), 2)).toHaveLength(1);
});

test("one message after the other is packed into the same memory, large and small", () => {
  const packer = new Packer();
  for (const size of [0, 10_000, 3]) {
    const found = unpack(packer.pack({ size }, new Uint8Array(size).fill(7)).slice().buffer);
    expect([found?.message, found?.buffer]).toEqual([{ size }, new Uint8Array(size).fill(7)]);
  }
  expect(packer.pack({}).buffer).toBe(packer.pack({}, new Uint8Array(50)).buffer);
});
