"""Cryptography: from a code to keys, from keys to sealed frames. Specified here for a second implementation.

    pake.py             from the words of a code to a shared secret, the root
    keys.py             what is derived from the root; sealed signals
    noise.py            the handshake of each connection
    sealed_frames.py    one encrypted frame in each message of a connection
    digest.py           what a chunk, a file and a whole transfer are recognised by

Participants

    A    shares: made the code, hosts its room, sends the data
    B    joins: was given the code
    R    the relay: carries their messages, may read, change, drop, repeat and invent any, and may guess codes

Only A and B learn what is transferred. Each knows that the other has the code. What arrives is what was sent, or
nothing. Not promised: that R lets anything pass, or that R does not see who talks to whom, when and how much. A
participant that has the code is trusted as the person who was given it.

In order

    1. code       A makes a code or a ticket, a person carries it to B                     nbferry.model.codes
    2. pairing    m1 B->A, m2 A->B, m3 B->A, m4 A->B through R's room of the code          crypto.pake
                  gives both sides root, 32 bytes; B has proved itself before A does
    3. signals    through the room that root names: B calls, A answers; sealed under root  crypto.keys
    4. handshake  for every connection, B initiates: Noise_NNpsk0_25519_AESGCM_SHA256      crypto.noise
                  gives one key for each direction
    5. frames     every later message of the connection is one sealed frame                crypto.sealed_frames
    6. digests    every chunk, file and transfer is checked by its BLAKE3                  crypto.digest

Steps 3 to 5 are repeated for every new connection of the pairing: a reconnect, another path, days later.

Derivations (HKDF: RFC 5869 with SHA-256; || joins; L2(x), L4(x): length of x as a big-endian u16, u32, and x)

    password      "nbferry/v1/pw" 00 || words joined by "-"       or || the 16 bytes of a ticket's secret
    K0            SPAKE2(password, idA = "nbferry/v1/A|" room, idB = "nbferry/v1/B|" room), suite spake2-ed25519
    T             SHA-256(L4("nbferry/v1/pake") || L4(room) || L4(m1) || L4(m2))
    prk           HKDF-Extract(salt = "nbferry/v1", K0)
    m3, m4        HMAC-SHA-256(HKDF-Expand(prk, "confirm B", 32), T), and "confirm A"
    root          HKDF-Expand(prk, "root" || T, 32)
    verifier      HKDF-Expand(prk, "verify" || T, 10)             five words that people may compare
    psk           HKDF-Expand(root, "nbferry/v1/psk", 32)
    room          HKDF-Expand(root, "nbferry/v1/room", 16)        of the signals
    channel       HKDF-Expand(root, "nbferry/v1/channel" || L2(nonce of A) || L2(nonce of B), 16)
    signal key    HKDF(salt = 32 random bytes of the message, root, "nbferry/v1/signal A" or "..B", 32)
    prologue      "nbferry/v1" 00 || "direct" or "relay" || 00 || nonce of B's call || nonce of A's answer
    frame keys    Split() of the handshake: the first for B->A, the second for A->B
    digests       plain BLAKE3 of a chunk; BLAKE3-derive-key with "nbferry v1 page", "nbferry v1 file",
                  "nbferry v1 content"

What is bound where

    room, both lists of suites, both nonces, both shares     T, and so the tags and root
    role                                                     SPAKE2's ids and side, tags, signal key, direction of
                                                             a frame key
    both sides know the code                                 tags; from then on each side that knows psk
    kind of path, nonces of this call and its answer         prologue of the handshake, from nbferry.connections
    position in the connection                               number of a sealed frame, in its AES-GCM nonce
    size, chunk size, number and order of chunks             file digest; paths and order of files: content digest

Limits

    guesses       three for a code, by the caller; one for each run of step 2; a ticket has 128 bits
    messages      m1..m4 4 KiB; signal 16 KiB; handshake 65,535 bytes; sealed frame limits.MAX_MESSAGE + 16 bytes
    keys          a signal key seals one message; a frame key 2^20 sealed frames, then Noise's REKEY
    stored        nothing here; a pairing that outlives a restart stores root and nothing else

root never changes, so a thief of root can later pretend to be either side. What was recorded before the theft stays
sealed: every handshake has keys of its own that are forgotten.

Importing this package imports no library; each module imports what it needs.
"""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes that are read or written in place."""
