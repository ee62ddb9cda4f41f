"""The signals by which two sides connect."""

from __future__ import annotations

import asyncio
import json

import pytest

from nbferry.connections.signals import Described, Descriptions, Signal, decode, unhex
from nbferry.errors import RemoteProtocolError
from nbferry.model.paths import Via

ONE, OTHER = bytes(range(16)), bytes(range(16, 32))


@pytest.mark.parametrize(
    "signal",
    [
        Signal(ONE, ["ws://192.0.2.1:9/nbferry/00"], "machine"),
        Signal(ONE, [], "", to=OTHER),
        Described(ONE, OTHER, Via.WEBRTC, {"ufrag": "a", "candidates": []}),
    ],
)
def test_signals_are_read_back(signal: Signal | Described) -> None:
    """Calls, answers and descriptions are read back unchanged."""
    assert decode(signal.encode()) == signal


def fields(**changed: object) -> bytes:
    """A call with changed fields; None removes a field."""
    call = {"nonce": ONE.hex(), "to": "", "urls": [], "machine": "", **changed}
    return json.dumps({name: value for name, value in call.items() if value is not None}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b"\xff",
        fields(nonce="00"),
        fields(nonce=7),
        fields(to="00"),
        fields(to="no hex"),
        fields(urls="ws://192.0.2.1:9/"),
        fields(urls=None),
        fields(machine=1),
        fields(urls=None, webrtc={}),  # a description without a receiver
        fields(urls=None, to=OTHER.hex(), webrtc=[]),
    ],
)
def test_invalid_signals_are_refused(raw: bytes) -> None:
    """Invalid signals are refused, even those of an authenticated peer."""
    with pytest.raises(RemoteProtocolError):
        decode(raw)


def test_text_that_is_no_hex_is_refused() -> None:
    """A mailbox transports text, so a signal must be hex."""
    assert unhex("00ff") == b"\x00\xff"
    with pytest.raises(RemoteProtocolError):
        unhex("zz")


@pytest.mark.parametrize("order", [(Via.WEBRTC, Via.DIRECT), (Via.DIRECT, Via.WEBRTC)])
def test_descriptions_of_several_paths(order: tuple[Via, ...]) -> None:
    """Each path gets its own, in whatever order they come; those of another call are dropped."""

    async def scenario() -> None:
        came: asyncio.Queue[Described] = asyncio.Queue()
        descriptions = Descriptions(came.get, ONE, OTHER)
        waiting = [asyncio.create_task(descriptions.of(via)) for via in (Via.DIRECT, Via.WEBRTC)]
        came.put_nowait(Described(OTHER, ONE, Via.WEBRTC, {"of": "another call"}))
        for via in order:
            came.put_nowait(Described(ONE, OTHER, via, {"of": via}))
        assert await asyncio.gather(*waiting) == [{"of": Via.DIRECT}, {"of": Via.WEBRTC}]

    asyncio.run(scenario())
