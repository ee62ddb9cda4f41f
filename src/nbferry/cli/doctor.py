"""What nbferry has to work with on this machine, and which paths lead out of it: the command ``nbferry doctor``."""

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
ASK_SECONDS = 2.5  # for STUN and TURN servers, all at once; a request is repeated after 0.5 and 1.5 s


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what a person can do about it if it is not good."""

    what: str
    good: bool
    found: str
    remedy: str = ""


def checks(
    relay: str | None, servers: Sequence[IceServer] = (), within: float = ASK_SECONDS
) -> Iterator[Check]:
    """Look at one thing after the other; servers that say nothing get ``within`` seconds, all of them together."""
    yield Check("nbferry", True, f"{__version__}, Python {platform.python_version()}, {platform.system()}")
    yield _direct()
    yield _relay(relay)
    yield from _webrtc(servers, within)
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
            "Let NBFERRY_HOST be an address of this machine, or leave it out; the relay is used meanwhile.",
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
            "Check the address and that it runs (nbferry relay, or a Jupyter server that has nbferry); "
            "without it no two sides meet.",
        )
    if found := server.server_relay():
        return Check("relay", True, f"this kernel's Jupyter server, {found.share_url}")
    return Check(
        "relay", True, "none is set; a sender starts one of its own, for this machine and its network"
    )


# ------------------------------------------------------------------ the way through NATs
def _webrtc(servers: Sequence[IceServer], within: float) -> Iterator[Check]:
    if not servers:
        yield Check("WebRTC", True, "no STUN or TURN server is to be asked, so within this network only")
        return
    from nbferry.transports.webrtc.stun import ask_server  # noqa: PLC0415  # aioice costs 100 ms, needed here only

    answers = asyncio.run(ask_server(servers, within))
    yield _udp([answer for answer in answers if answer.server.transport == "udp" and answer.asked])
    yield from map(_server, answers)
    seen = [answer for answer in answers if answer.address and answer.server.kind == "stun"]
    if seen:
        yield _nat(seen)


def _udp(answers: Sequence[StunAnswer]) -> Check:
    if not answers:
        return Check("UDP", True, "not tried: no server was there to be asked over it")
    if any(answer.heard for answer in answers):
        return Check("UDP", True, "gets out of this network and back")
    return Check(
        "UDP",
        False,
        "nothing comes back",
        "Let the firewall pass it, or name a TURN server over TCP: --ice-servers "
        "turn:user:secret@host:443?transport=tcp. Otherwise transfers take the relay; that is all right.",
    )


def _server(answer: StunAnswer) -> Check:
    what = str(answer.server)
    if not answer.address:
        return Check(what, False, answer.problem, _REMEDIES[answer.server.kind])
    where = _written(answer.address)
    found = f"sees us at {where}" if answer.server.kind == "stun" else f"passes packets on, from {where}"
    return Check(what, True, found)


_REMEDIES = {
    "stun": "Name another one: --ice-servers or NBFERRY_ICE_SERVERS; in a closed network, none: --no-stun.",
    "turn": "Check its address, port and transport, the user name and the secret.",
}


def _written(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _nat(seen: Sequence[StunAnswer]) -> Check:
    """Whether two sides can open a way through the NAT: if it has one port for us, whomever we talk to (RFC 4787).

    That is known of a socket, of which there is one for each family, which servers at two addresses have seen.
    """
    ours = set(local_addresses())
    behind = [answer for answer in seen if answer.address and answer.address[0] not in ours]
    if not behind:
        return Check("NAT", True, "there is none: the address is our own")
    sockets = [[answer for answer in behind if (":" in answer.asked) == six] for six in (False, True)]
    compared = [answers for answers in sockets if len({answer.asked for answer in answers}) > 1]
    if not compared:
        return Check("NAT", True, "there is one; name two STUN servers to see whether WebRTC gets through")
    if all(len({answer.address for answer in answers}) == 1 for answers in compared):
        return Check("NAT", True, "has one port for us, whomever we talk to: WebRTC gets through")
    return Check(
        "NAT",
        False,
        "has another port for us with each server: WebRTC gets through to few",
        "Name a TURN server (--ice-servers). Otherwise transfers take the relay; that is all right.",
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
        "no nbferry.json in Jupyter's configuration",
        "Install nbferry with pip where the Jupyter server runs, and restart that.",
    )


def _enabled_by(file: Path) -> tuple[bool, str, str]:
    try:
        extensions = json.loads(file.read_text())["ServerApp"]["jpserver_extensions"]
        enabled = extensions["nbferry.jupyter"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False, f"{file} cannot be read", "Install nbferry again with pip."
    remedy = "Switch it on: jupyter server extension enable nbferry.jupyter"
    return enabled, f"{'enabled' if enabled else 'switched off'} by {file}", remedy


def _folder() -> Check:
    here = Path.cwd()
    space = os.statvfs(here) if hasattr(os, "statvfs") else None
    free = f", {rendering.size(space.f_bavail * space.f_frsize)} free" if space else ""
    writable = os.access(here, os.W_OK)
    return Check(
        "this folder",
        writable,
        f"{'writable' if writable else 'read-only'}{free}",
        "Receive into another folder: to=, or --to.",
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
