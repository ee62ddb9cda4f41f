"""A STUN server for tests, which answers correctly or as a test needs it."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Self

from aioice.stun import Class, Message, Method, parse_message

LARGEST = 2048  # bytes of one request
Address = tuple[str, int]
Respond = Callable[[Message, Address], bytes]
"""The server's answer to a request from an address; empty for none."""


def truth(request: Message, address: Address) -> bytes:
    """Answer with the address of the request."""
    attributes = {"XOR-MAPPED-ADDRESS": address}
    return bytes(Message(Method.BINDING, Class.RESPONSE, request.transaction_id, attributes))


def silence(_: Message, __: Address) -> bytes:
    """Do not answer."""
    return b""


class StunServer:
    """Answers on a UDP socket, in the network of the thread that makes it, until it is closed."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, respond: Respond = truth) -> None:
        self.heard: list[Address] = []  # addresses of requests
        self._respond = respond
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.address: Address = self._socket.getsockname()
        self._bell, self._ring = os.pipe()
        self._thread = threading.Thread(target=self._run, name="stun")

    @property
    def url(self) -> str:
        """The server's address for ``--ice-servers``."""
        return f"stun:{self.address[0]}:{self.address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ring)
        self._thread.join()
        os.close(self._bell)
        self._socket.close()

    def _run(self) -> None:
        while self._bell not in select.select([self._socket.fileno(), self._bell], [], [])[0]:
            data, address = self._socket.recvfrom(LARGEST)
            self.heard.append(address)
            if answer := self._respond(parse_message(data), address):
                self._socket.sendto(answer, address)
