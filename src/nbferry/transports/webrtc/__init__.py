"""WebRTC data channels between two kernels, by aiortc, with a data path of our own that is much faster.

    datachannel.py   the transport: one pair of channels, and the peer that makes it
    description.py   what one end tells the other before they connect
    ice.py           finding a path: candidates, servers, checks
    stun.py          asking STUN and TURN servers whether they answer
    datagrams.py     a UDP socket that sends and receives many datagrams at once
    sctp.py          SCTP and DTLS of aiortc, with our data path
    pieces.py        messages cut into pieces, and put together
    reassembly.py    what has arrived        recovery.py   what was sent, and what of it is lost
    congestion.py    how fast to send        probing.py    how large packets may be

Only datachannel, ice, sctp and stun load aiortc or aioice, which takes a quarter of a second.
"""
