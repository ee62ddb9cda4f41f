"""Live pipes of messages, behind one port.

    base.py        the port: a transport sends and receives whole messages, in order
    memory.py      two ends in one process
    websocket.py   WebSockets, dialled and accepted, by picows
    webrtc/        data channels between two kernels, by aiortc

A transport knows nothing of encryption or of the protocol; :mod:`nbferry.connections` makes links of it. Every
transport passes the tests of ``tests/ports``.
"""
