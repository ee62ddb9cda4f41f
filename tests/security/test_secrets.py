"""What others can see of a transfer: on the wire, in the relay's log, in the list of processes. No secret is there."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nbferry.crypto.keys import SessionKeys
from nbferry.model.codes import parse
from running import Commands
from wiretap import Loopback, Proxy

FOLDER, FILE = "Quartalszahlen", "\u0413\u0435\u043d\u043e\u043c von Anna.csv"
CONTENT = b"her account is DE02120300000000202051, " * 10_000

TELLING = """
import pathlib, sys
import nbferry.crypto.keys as keys
from nbferry.cli.main import main

class Telling(keys.SessionKeys):
    def __post_init__(self):
        super().__post_init__()
        pathlib.Path("../root").write_bytes(self.root)

import nbferry.connections.pairing as pairing
pairing.SessionKeys = Telling
sys.argv[0] = "nbferry"
main()
"""
"""The command, but it leaves the root of its pairing in a file."""


@dataclass(frozen=True)
class Overheard:
    """What one transfer left where others can see it."""

    wire: bytes
    relay_log: str
    own_logs: str
    processes: bytes


def transfer(nbferry: Commands, *, via: str, how: str) -> tuple[str, bytes, Overheard]:
    """Send a folder, with the code by environment or by stdin: the code, the root, and what others could see."""
    nbferry.file(f"a/{FOLDER}/{FILE}", CONTENT)
    relay, url = nbferry.relay("-v")
    with Loopback() as loopback, Proxy(int(url.rstrip("/").rpartition(":")[2])) as proxy:
        seen_by = f"http://127.0.0.1:{proxy.port}/"
        options = ("--json", "-v", "--via", via, "--code-length", "6", "--relay", seen_by)
        sender = nbferry("send", ".", *options, folder=f"a/{FOLDER}", program=TELLING)
        code = sender.code()
        given = {"NBFERRY_CODE": code} if how == "environment" else {"stdin": f"{code}\n"}
        receiver = nbferry("receive", "--json", "-v", "--via", via, folder="b", **given)
        receiver.state("waiting")
        processes = b"".join(command_lines())
        assert (receiver.end(), sender.end()) == (0, 0)
    assert (nbferry.root / "b" / FOLDER / FILE).read_bytes() == CONTENT
    assert sender.events()[-1]["via"] == via
    relay.interrupt()
    relay.end()
    assert b"GET /nbferry/ws HTTP/1.1" in proxy.heard
    if loopback.listens:
        assert loopback.heard.count(b"GET /nbferry/") > proxy.heard.count(b"GET /nbferry/")
    overheard = Overheard(
        wire=proxy.heard + loopback.heard,
        relay_log="\n".join(relay.errors),
        own_logs="\n".join(sender.errors + receiver.errors),
        processes=processes,
    )
    return code, (nbferry.root / "a/root").read_bytes(), overheard


def command_lines() -> Iterator[bytes]:
    """What ``ps`` shows of every process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue


def forms(secret: bytes | str) -> Iterator[bytes]:
    """The ways in which it could be written down."""
    if isinstance(secret, str):
        yield json.dumps(secret)[1:-1].encode()
        secret = secret.encode()
    yield from (secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode())


@pytest.mark.parametrize(("via", "how"), [("relay", "environment"), ("direct", "stdin")])
def test_nothing_can_be_overheard(nbferry: Commands, via: str, how: str) -> None:
    """The code, the keys, names and contents are neither on the wire nor in the relay's log nor shown by ``ps``."""
    code, root, overheard = transfer(nbferry, via=via, how=how)
    words = code.partition("@")[0].split("-")[1:]
    ticket, keys = parse(code), SessionKeys(root)
    of_code: list[bytes | str] = ["-".join(pair) for pair in itertools.pairwise(words)]
    of_code += [ticket.password, root, keys.psk]
    names = [FOLDER, FILE, FILE.partition(" ")[0], "Anna.csv"]
    for form in itertools.chain(*map(forms, (*of_code, *names, CONTENT[:16], CONTENT[7:23]))):
        assert form not in overheard.wire
        assert form not in overheard.relay_log.encode()
        assert form not in overheard.processes
    for form in itertools.chain(*map(forms, of_code)):
        assert form not in overheard.own_logs.encode()
    assert ticket.room not in overheard.relay_log
    assert keys.room not in overheard.relay_log
    assert ("are paired" in overheard.relay_log) == (via == "relay")


def test_the_search_finds_what_is_there(nbferry: Commands) -> None:
    """The same search does find a code that somebody gives as an argument."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code = f"123456-amber-canyon-tulip@http://127.0.0.1:{silent.getsockname()[1]}/"
        receiver = nbferry("receive", code, "--json", folder="b")
        receiver.state("waiting")
        assert any(b"amber-canyon" in line for line in command_lines())
        receiver.interrupt()
        assert receiver.end() == 130
