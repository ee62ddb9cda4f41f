"""What works on this machine, and which paths lead to other machines: the command ``nbferry doctor``."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nbferry._version import __version__
from nbferry.connections.addresses import local_addresses
from nbferry.errors import CodeInvalid
from nbferry.jupyter import server
from nbferry.limits import MiB
from nbferry.model.codes import canonical_url
from nbferry.model.ice_servers import IceServer
from nbferry.text import rendering

if TYPE_CHECKING:
    from nbferry.transports.webrtc.stun import StunAnswer

SAMPLE = 64 * MiB
ASK_SECONDS = 2.5
"""Timeout for all STUN and TURN servers together; a request is repeated after 0.5 and 1.5 s."""


@dataclass(frozen=True)
class Check:
    """The result of one check, and what a person can do if it is not good."""

    what: str
    good: bool
    found: str
    remedy: str = ""


def checks(
    relay: str | None, servers: Sequence[IceServer] = (), timeout: float = ASK_SECONDS
) -> Iterator[Check]:
    """Run the checks one by one. ``timeout`` is in seconds, for all STUN and TURN servers together."""
    yield Check("nbferry", True, f"{__version__}, Python {platform.python_version()}, {platform.system()}")
    yield _direct()
    yield _relay(relay)
    yield from _webrtc(servers, timeout)
    yield _extension()
    yield _folder()
    yield _speed()


def _direct() -> Check:
    host = os.environ.get("NBFERRY_HOST")
    try:
        with socket.create_server((host or "", 0)):
            return Check(
                "direct connections", True, f"can listen; reachable as {', '.join(local_addresses(host))}"
            )
    except OSError as error:
        return Check(
            "direct connections",
            False,
            f"cannot listen ({error.strerror})",
            "Set NBFERRY_HOST to an address of this machine, or unset it. Until then nbferry uses the relay.",
        )


def _relay(named: str | None) -> Check:
    if named:
        try:
            url = canonical_url(named)
        except CodeInvalid as error:
            return Check("relay", False, error.message, error.hint)
        good = server.has_relay(url)
        return Check(
            "relay",
            good,
            f"{url} {'answers' if good else 'does not answer as an nbferry relay'}",
            "Check the address, and that the relay runs (nbferry relay, or a Jupyter server with nbferry). "
            "Two sides need it to find each other.",
        )
    if found := server.server_relay():
        return Check("relay", True, f"this kernel's Jupyter server, {found.share_url}")
    return Check("relay", True, "none is set; a sender starts its own, for this machine and its network")


# ------------------------------------------------------------------ the way through NATs
def _webrtc(servers: Sequence[IceServer], timeout: float) -> Iterator[Check]:
    if not servers:
        yield Check("WebRTC", True, "no STUN or TURN server is set, so it works only within this network")
        return
    # Here, because loading aioice takes 100 ms.
    from nbferry.transports.webrtc.stun import ask_server  # noqa: PLC0415

    answers = asyncio.run(ask_server(servers, timeout))
    yield _udp([answer for answer in answers if answer.server.transport == "udp" and answer.asked])
    yield from map(_server, answers)
    seen = [answer for answer in answers if answer.address and answer.server.kind == "stun"]
    if seen:
        yield _nat(seen)


def _udp(answers: Sequence[StunAnswer]) -> Check:
    if not answers:
        return Check("UDP", True, "not tested: no server uses it")
    if any(answer.heard for answer in answers):
        return Check("UDP", True, "leaves this network, and answers come back")
    return Check(
        "UDP",
        False,
        "no answer comes back",
        "Allow it in the firewall, or name a TURN server over TCP: --ice-servers "
        "turn:user:secret@host:443?transport=tcp. Otherwise transfers use the relay, which also works.",
    )


def _server(answer: StunAnswer) -> Check:
    what = str(answer.server)
    if not answer.address:
        return Check(what, False, answer.problem, _REMEDIES[answer.server.kind])
    where = _written(answer.address)
    found = f"sees us at {where}" if answer.server.kind == "stun" else f"forwards packets, from {where}"
    return Check(what, True, found)


_REMEDIES = {
    "stun": "Name another server: --ice-servers or NBFERRY_ICE_SERVERS. In a closed network, use --no-stun.",
    "turn": "Check its address, port and transport, the user name and the secret.",
}


def _written(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _nat(seen: Sequence[StunAnswer]) -> Check:
    """Check whether WebRTC can pass the NAT: it must use one port of ours for every peer (RFC 4787).

    That shows when servers at two addresses have seen the same socket; there is one socket for each family.
    """
    ours = set(local_addresses())
    behind = [answer for answer in seen if answer.address and answer.address[0] not in ours]
    if not behind:
        return Check("NAT", True, "none: the public address belongs to this machine")
    sockets = [[answer for answer in behind if (":" in answer.asked) == six] for six in (False, True)]
    compared = [answers for answers in sockets if len({answer.asked for answer in answers}) > 1]
    if not compared:
        return Check("NAT", True, "found; name two STUN servers to test whether WebRTC passes it")
    if all(len({answer.address for answer in answers}) == 1 for answers in compared):
        return Check("NAT", True, "uses one port for all peers: WebRTC passes it")
    return Check(
        "NAT",
        False,
        "uses another port for each peer: WebRTC seldom passes it",
        "Name a TURN server (--ice-servers). Otherwise transfers use the relay, which also works.",
    )


# ------------------------------------------------------------------ this machine
def _extension() -> Check:
    from jupyter_core.paths import jupyter_config_path  # noqa: PLC0415

    for folder in jupyter_config_path():
        file = Path(folder) / "jupyter_server_config.d" / "nbferry.json"
        if file.is_file():
            return Check("Jupyter extension", *_enabled_by(file))
    return Check(
        "Jupyter extension",
        False,
        "Jupyter's configuration has no nbferry.json",
        "Install nbferry with pip where the Jupyter server runs, and restart the server.",
    )


def _enabled_by(file: Path) -> tuple[bool, str, str]:
    try:
        extensions = json.loads(file.read_text())["ServerApp"]["jpserver_extensions"]
        enabled = extensions["nbferry.jupyter"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False, f"{file} cannot be read", "Install nbferry again with pip."
    remedy = "Enable it: jupyter server extension enable nbferry.jupyter"
    return enabled, f"{'enabled' if enabled else 'disabled'} by {file}", remedy


def _folder() -> Check:
    here = Path.cwd()
    space = os.statvfs(here) if hasattr(os, "statvfs") else None
    free = f", {rendering.size(space.f_bavail * space.f_frsize)} free" if space else ""
    writable = os.access(here, os.W_OK)
    return Check(
        "this folder",
        writable,
        f"{'writable' if writable else 'read-only'}{free}",
        "Receive into another folder, with to= or --to.",
    )


def _speed() -> Check:
    from nbferry.crypto.digest import chunk_digest  # noqa: PLC0415
    from nbferry.crypto.sealed_frames import TAG, Sealer  # noqa: PLC0415

    chunk, out = bytes(MiB), memoryview(bytearray(MiB + TAG))
    sealer = Sealer(bytes(32))
    started = time.perf_counter()
    for _ in range(SAMPLE // MiB):
        chunk_digest(chunk)
        sealer.seal_into(chunk, out)
    rate = SAMPLE / (time.perf_counter() - started)
    return Check("hashing and sealing", True, f"{rendering.size(rate)}/s on one core")
