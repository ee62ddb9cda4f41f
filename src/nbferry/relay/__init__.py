"""The rendezvous and relay, both ends: two sides meet here, and it carries their sealed bytes.

    core.py        specifies the wire for both ends; the relay itself, without I/O or a clock
    wire.py        one control message: bytes to fields and back
    rooms.py       what the core remembers: connections, rooms, channels, ended rooms
    effects.py     what the core wants done
    rates.py       token buckets      deadlines.py   timed actions      limits.py   every number
    driver.py      runs a core on an asyncio loop, over Tornado's WebSockets
    handlers.py    its two routes     sockets.py     their WebSockets   app.py      a server of its own
    client.py      the other end: mailboxes and channels, over any transport

The relay runs in a process of its own (``nbferry relay``), inside a sender's process, or in a Jupyter server
(:mod:`nbferry.jupyter.extension`). It never sees plaintext. The client and the relay share nothing but the wire.
"""
