r"""The wire protocol of a transfer, version 1. Both sides are machines without I/O, clock or threads.

    frames.py       the frames: values to bytes and back
    phases.py       the phases of a transfer, and what leads from one to the next
    machine.py      what both sides share: greeting, pause, liveness, endings
    sender.py       serves chunks        debts.py        digests that it owes
    receiver.py     wants chunks         window.py       its flow control
    assembly.py     one chunk from pieces                candidates.py   chunks of an older copy
    progress.py     what is durable, and what the sender knows of it
    leaves.py       digests of chunks    events.py       what a machine reports to its driver

Participants
    A *sender* has an ordered list of files and folders, the manifest. A *receiver* wants them. They share a
    secret (:mod:`nbferry.crypto`) and have met through a relay (:mod:`nbferry.relay.core`). An ordered, reliable pipe
    of messages joins them, and a new one whenever it is lost: a WebSocket or a WebRTC data channel between them, or a
    WebSocket of each to the relay.

Goals
    An offer of any size goes out at once, without reading a file. Every byte is verified before it is written.
    A lost connection costs the frames that were under way on it, never what has arrived; a process that ends, on
    either side, costs what was not yet durable. What the receiver has of an older copy is not sent. A slow disk
    slows the sender without a message. Many small files cost no more round trips than one large one.

Non-goals
    Secrecy and authentication (every frame is sealed), choice of the path, more than two participants, changes of an
    offer once it is made.

One idea
    The receiver asks for chunks, by number; the sender answers with exactly those. Answers are idempotent.
    So starting is wanting everything, resuming is wanting what is not stored, using an older copy is asking for
    digests instead of bytes, a damaged chunk is wanted again, pausing is not wanting, and a full disk wants nothing.

Below the frames
    1.  *Pairing*, once: a code or ticket becomes a root secret (:mod:`nbferry.crypto.pake`) by messages
        through the mailbox of the code's room.
    2.  *Call*, for each connection: both derive the name of a capability room from the root. The sender hosts
        it. The receiver joins and sends a call, the sender an answer; each is JSON, sealed
        (:meth:`nbferry.crypto.keys.SessionKeys.seal_signal`), in hex: ``{"nonce": 16 bytes, "to": the nonce
        answered or "", "urls": [where it listens], "machine": mark}``. A url is ``ws://IP:port/nbferry/``
        and 32 random hex digits; at most 8 are looked at. The mark is 32 hex digits of SHA-256 of a text that only
        processes with a common loopback interface have, and the nonce; loopback urls are dialled only if it is the one
        that one would make, and the nonce not one's own. A nonce that was answered before is not answered again.
    3.  *Race*: both dial the other's urls and, 0.3 s later or when these have failed, the relay, in the channel
        named by both nonces. At the same time as the relay, each may send ``{"nonce", "to": the other's nonce,
        "webrtc": its description}`` (:class:`nbferry.transports.webrtc.description.Description`: ICE credentials and
        candidates, fingerprints of its DTLS certificate), sealed likewise; when both have, ICE and DTLS connect two
        data channels, in which the receiver is the controlling side. On every pipe the receiver starts
        Noise_NNpsk0_25519_AESGCM_SHA256 with prologue ``nbferry/v1\0`` path ``\0`` nonce of the call, nonce of the
        answer, and for ``webrtc`` the fingerprints of receiver and sender
        (:func:`~nbferry.transports.webrtc.description.binding`); path is ``direct``, ``relay`` or ``webrtc``. The
        sender answers on each.
    4.  *Sealed frames*: each frame is sealed (:mod:`nbferry.crypto.sealed_frames`) and sent as one binary message,
        of at most 4 MiB.
    5.  *Switches*: of the pipes that have come up one is used at a time, and the receiver says which: by a sealed
        ``0x00`` and a u64 that grows with each switch. The sender answers on that pipe with the same message. To
        use a pipe is a *connection* in what follows: it begins on each side with the switch that it sends. What
        arrives on a pipe before the newest switch is late, and dropped; so is a switch with a smaller number.

    The receiver may switch, or call anew, at any time. Before a switch it waits for what it has asked for, if that does
    not take long. When it calls anew the sender drops all pipes that it has. Either may close pipes that are not
    in use.

Frames
    The first byte is the type. Numbers are unsigned, big-endian.

    ``0x01`` *control*: UTF-8 JSON, an object with "frame" (its name) and the fields below, of at most 1 MiB.
    Unknown fields and unknown names are ignored. A set of chunks or entries is a list of ``[start, stop]``
    pairs, stop excluded, of at most 65,536.

    ``0x02`` *chunks*: pieces, one after the other, each

    ======  =====  ==================================================================
    offset  bytes
    ======  =====  ==================================================================
    0       8      number of the chunk
    8       4      offset of this piece in the chunk
    12      4      length of this piece
    16      32     BLAKE3 of the whole chunk
    48      ...    the piece
    ======  =====  ==================================================================

    A chunk travels whole, several to a frame if they are small, or cut into pieces, in order and one chunk
    after the other, where a message of the path cannot hold it, would occupy the line for too long, or may well be
    cut off. When the connection is lost the pieces that have arrived are kept; the next connection carries the
    rest of the chunk (``rest``, below).

    ``0x03`` *leaves*: digests of chunks without the chunks, at least one and at most 8,192

    ======  =====  ==================================================================
    offset  bytes
    ======  =====  ==================================================================
    1       8      number of the first chunk
    9       32     its BLAKE3
    41      32     BLAKE3 of the next chunk, and so on to the end of the frame
    ======  =====  ==================================================================

Numbers
    Chunks are numbered from 0 through the whole manifest, in the order of its entries. A file of ``size`` bytes
    has ``max(1, ceil(size / chunk_size))`` of them, the last as short as it must be; a folder has none.
    Entries are numbered from 0. A file's digest is :func:`nbferry.crypto.digest.file_digest` of its size, the
    chunk size and its chunks' digests; the digest of a transfer is :func:`~nbferry.crypto.digest.content_digest`.

    The id of an offer is 32 hex digits of BLAKE2b with 16 bytes of output and the personalisation ``nbferry manifest``
    over: u64 chunk size, u64 number of entries, and for each entry u64 length of its path in bytes, u64 size, i64
    mtime (0 for a folder), u8 flags (1 executable, 2 folder), the path. Paths are UTF-8, lone surrogates encoded like
    any character. So the same list has the same id, also after a restart of the sender.

A connection, in order
    ::

        both      hello     {protocol: [1], role: "sender" | "receiver", agent: "nbferry/0.1.0", features: []}
        sender    offer     {id, entries, files, bytes, chunk_size}
        receiver  list      {}                               if it does not have this offer's entries
        sender    entries   {first, entries: [{path, size, mtime, executable?, folder?}]}   as often as needed
        receiver  answer    {accept: true} | {accept: false, reason}
        receiver  want      {chunks, digests, leaves, rest?} again and again, as its window has room
        sender    (chunks)                                   exactly "chunks", in the order of the wants
        sender    digests   {digests: [[entry, hex]]}        of those files, when all their chunks are read
        sender    (leaves)                                   exactly "leaves", in any order and any runs
        receiver  progress  {verified, durable, state, all}  what is new, a few times a second
        receiver  done      {digest}                         everything is at its place and durable
        sender    bye       {}

    ``hello`` names the versions a side speaks; without a common one the connection ends with an error.
    ``features`` names what it can do beyond this text; a side uses only what both named. ``path`` is relative,
    its parts joined by "/"; the receiver judges it (:mod:`nbferry.model.names`). ``mtime`` is in nanoseconds since
    1970. ``size`` is left out for folders. ``id`` names the offer; the receiver checks that the list has this id.
    On a later connection, or in a later run, the same offer is not listed again, the receiver answers at once, reports
    all that it has (``all`` true: forget earlier reports), and wants what is missing. Another ``id`` on a later
    connection is an error. ``state`` is the receiver's "transferring", "verifying" or "writing"; absent, it is as it
    was. What a receiver has lost it reports by a progress that is ``all`` again.

    ``chunks`` and ``leaves`` of a want are chunk numbers, ``digests`` entry numbers (folders among them count as not
    asked for). Absent means none. A receiver asks for ``leaves`` of chunks for which it has unverified bytes: an older
    copy, or what a crash left. It keeps a chunk that has the digest, and wants the others like any chunk. At most 4,096
    leaves may be asked for and unanswered. The sender reads wanted chunks first; a digest that it knows it sends at
    once. What does not fit into one want or progress is said in several: of these only the first progress is ``all``,
    and the last has the ``state``.

    ``rest`` is ``[chunk, offset]``: of this one of ``chunks`` the first ``offset`` bytes, neither none nor all, have
    arrived over an earlier connection. Only the first want for chunks on a connection may have it; a receiver asks
    there for this chunk alone, so that no other is begun before it. The sender reads the whole chunk and sends what
    comes behind these bytes, with offsets and digest as if it sent all; or it does send all, from the beginning. If
    both parts together do not have the digest, the chunk is damaged like any other: it is wanted again, whole.

    At any time::

        either    pause     {reason}     the sender sends no chunks, the receiver wants none, until
        either    resume    {}
        either    ping      {}           when it has sent nothing for 10 s; answered by
        either    pong      {}
        either    cancel    {reason}     it is over; answered by bye
        either    error     {code, message}     it failed; answered by bye

    Pauses belong to the connection: a side that still holds says so again after ``hello``. ``done`` (after its
    ``answer``), ``cancel``, ``error`` and a rejecting ``answer`` are repeated after the next ``hello`` if no ``bye``
    came, also by a later run of a receiver that was done. A side that learns of the end stores it before it says
    ``bye``. A sender whose file is no longer what it offered ends with the error ``source-changed``. A side that
    receives nothing for 30 s gives the connection up.

What a receiver does not trust
    Every count and size is checked against a limit before memory is used for it. A chunk that was not asked for,
    or comes twice, or has a wrong length ends the transfer; so does a digest that was not asked for, and a list that
    has not the id of its offer. A chunk that fails its digest is wanted again, at most
    three times. Memory is bounded by the window: what was asked for and is not yet stored.

What a sender does not trust
    Wants and digests that are owed are bounded. A digest becomes a frame only when the link takes it, so a receiver
    that asks and does not read costs nothing. A sender that has read everything compares the
    receiver's digest of the whole with its own.

Read the modules in the order of the table above.
"""
