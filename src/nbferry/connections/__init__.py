"""How two sides find each other and connect: codes and keys, calls, paths, and which path is used.

    invitation.py      the sender's side of a code: its room at the relay
    pairing.py         from a code to a shared secret, through a mailbox
    connector.py       from a shared secret to links: a call, an answer, a race
    signals.py         what the call, the answer and the descriptions say
    race.py            every path, tried at once
    addresses.py       where this machine listens, and which of a peer's addresses may be dialled
    link.py            one authenticated and encrypted connection
    bundle.py          the links of one call, of which one is in use
    path_selector.py   which of them is the quickest
    settings.py        how this process runs transfers
    relay_address.py   where a relay is           backoff.py   how long to wait before a retry
    waiting.py         waiting for one of several things

In order: invitation and pairing once, then a connector makes connections until the transfer has ended. A session
(:mod:`nbferry.engine.sessions`) uses the bundle.
"""
