import { expect, test } from "vitest";
import { perform } from "../src/hashing";

/** Of bytes n % 251, as Python's `blake3(bytes(n % 251 for n in range(size))).hexdigest()` has it. */
const DIGESTS: [size: number, digest: string][] = [
  [0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"],
  [1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"],
  [1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"],
  [65536, "68d647e619a930e7b1082f74f334b0c65a315725569bdc123f0ee11881717bfe"],
  [1048579, "dc51e3daeb5dbbb6a3eb12209fbb7cb14a74fc866a4ad82bc7eb703f536c1092"],
];

function counted(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(size).map((_, n) => n % 251);
}

test.each(DIGESTS)("the digest of %i bytes is Python's", async (size, digest) => {
  const { digest: found, length } = await perform({ do: "hash", bytes: counted(size).buffer });
  expect([found, length]).toEqual([digest, size]);
});

test.each([null, 1025, 2000])(
  "a slice is read, into memory of %s bytes if there is some, and hashed",
  async (room) => {
    const [size, digest] = DIGESTS[2] ?? [0, ""];
    const whole = counted(size);
    const file = new Blob([new Uint8Array(7), whole, new Uint8Array(9)]);
    const into = room === null ? null : new ArrayBuffer(room);
    const read = await perform({ do: "read", file, start: 7, end: 7 + size, into });
    expect([read.digest, read.length]).toEqual([digest, size]);
    expect(read.bytes.byteLength).toBe(room ?? size);
    expect(new Uint8Array(read.bytes, 0, size)).toEqual(whole);
  },
);

test("of what lies beyond the end of a file nothing is read", async () => {
  const read = await perform({
    do: "read",
    file: new Blob([new Uint8Array(5)]),
    start: 3,
    end: 9,
    into: new ArrayBuffer(6),
  });
  expect(read.length).toBe(2);
});

test("several at once do not mix", async () => {
  const jobs = DIGESTS.map(([size]) => perform({ do: "hash", bytes: counted(size).buffer }));
  expect((await Promise.all(jobs)).map(({ digest }) => digest)).toEqual(DIGESTS.map(([, digest]) => digest));
});
