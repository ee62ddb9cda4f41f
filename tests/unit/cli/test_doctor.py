"""What the doctor finds out about the way through NATs, from servers of the test's own on this machine."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from aioice.stun import Class, Message, Method

from nbferry.cli import doctor
from nbferry.cli.doctor import Check, checks
from nbferry.model.ice_servers import IceServer, ice_servers
from nbferry.transports.webrtc.stun import StunAnswer
from network.stun import Address, Respond, StunServer, silence, truth

SECRET = "hush-hush"
TWO_HOSTS = ("127.0.0.1", "127.0.0.2")
TIMEOUT = 1.2  # seconds: a request is repeated after 0.5


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """Servers that end with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def _behind_a_nat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback, by which servers here see us, counts as an address of some NAT."""
    monkeypatch.setattr(doctor, "local_addresses", lambda *_: ["192.0.2.2"])


def look(*servers: str, timeout: float = TIMEOUT) -> dict[str, Check]:
    """What is found with these servers, by what was looked at, up to where it is about something else."""
    found = {check.what: check for check in checks(None, ice_servers(servers), timeout)}
    names = list(found)
    return {name: found[name] for name in names[names.index("relay") + 1 : names.index("Jupyter extension")]}


def test_a_server_that_answers(servers: ExitStack) -> None:
    """UDP gets out, and we know where the server sees us; one server says nothing about the NAT."""
    server = servers.enter_context(StunServer())
    found = look(server.url)
    assert list(found) == ["UDP", server.url, "NAT"]
    assert all(check.good for check in found.values())
    assert found[server.url].found == f"sees us at 127.0.0.1:{server.heard[0][1]}"
    assert "name two" in found["NAT"].found


def test_a_nat_that_keeps_its_port(servers: ExitStack) -> None:
    """Two servers that see the same address: a way can be opened."""
    pair = [servers.enter_context(StunServer(host)) for host in TWO_HOSTS]
    nat = look(*(server.url for server in pair))["NAT"]
    assert nat.good
    assert "passes it" in nat.found
    assert pair[0].heard == pair[1].heard


def another_port(request: Message, address: Address) -> bytes:
    """An address with another port than the request came from."""
    return truth(request, (address[0], address[1] ^ 1))


def test_a_nat_that_does_not(servers: ExitStack) -> None:
    """Two servers that see another port each: that is said, with what to do."""
    pair = zip(TWO_HOSTS, (truth, another_port), strict=True)
    urls = [servers.enter_context(StunServer(host, respond=respond)).url for host, respond in pair]
    nat = look(*urls)["NAT"]
    assert not nat.good
    assert "TURN" in nat.remedy


@pytest.mark.parametrize("respond", [truth, another_port])
def test_two_names_of_one_server(servers: ExitStack, respond: Respond) -> None:
    """They say no more about the NAT than one name."""
    urls = [servers.enter_context(StunServer(respond=how)).url for how in (truth, respond)]
    nat = look(*urls)["NAT"]
    assert nat.good
    assert "name two" in nat.found


FOUR = [("192.0.2.9", 4000), ("192.0.2.9", 4000)]
SIX = [("2001:db8::9", 6000), ("2001:db8::9", 6000)]


@pytest.mark.parametrize(
    ("four", "six", "found"),
    [
        (FOUR[:1], SIX[:1], "name two"),
        (FOUR, SIX[:1], "one port for all peers"),
        (FOUR, SIX, "one port for all peers"),
        ([*FOUR, ("192.0.2.9", 4001)], SIX, "another port"),
        (FOUR, [*SIX, ("2001:db8::9", 6001)], "another port"),
        ([], [("2001:db8::2", 6000)] * 2, "none: "),
        (FOUR[:1], [("2001:db8::2", 6000)] * 2, "name two"),
        ([("192.0.2.2", 4000), *FOUR[:1]], [], "name two"),
    ],
)
def test_each_family_has_a_socket(
    monkeypatch: pytest.MonkeyPatch, four: list[Address], six: list[Address], found: str
) -> None:
    """Only what servers see of the same socket is compared, and only of those beyond the NAT."""
    monkeypatch.setattr(doctor, "local_addresses", lambda *_: ["192.0.2.2", "2001:db8::2"])
    seen = [
        StunAnswer(IceServer("stun", "stun.example", 3478), address, asked=f"{network}{host}", heard=True)
        for network, addresses in (("198.51.100.", four), ("2001:db8:1::", six))
        for host, address in enumerate(addresses, 1)
    ]
    assert found in doctor._nat(seen).found


def test_no_nat(servers: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sees us at an address of this machine: nothing is in between."""
    monkeypatch.setattr(doctor, "local_addresses", lambda *_: ["127.0.0.1"])
    assert "none: " in look(servers.enter_context(StunServer()).url)["NAT"].found


def test_a_packet_that_is_lost(servers: ExitStack) -> None:
    """A request that was not answered is repeated."""
    dropped: list[Address] = []

    def drop_the_first(request: Message, address: Address) -> bytes:
        dropped.append(address)
        return truth(request, address) if len(dropped) > 1 else b""

    server = servers.enter_context(StunServer(respond=drop_the_first))
    assert look(server.url)[server.url].good
    assert len(dropped) == 2


def garbage(_: Message, __: Address) -> bytes:
    """No STUN message."""
    return b"\x01\x01\xff"


def odd(request: Message, _: Address) -> bytes:
    """An answer to the request whose attribute has a wrong length."""
    answer = Message(Method.BINDING, Class.RESPONSE, request.transaction_id, {"PRIORITY": 1})
    return bytes(answer)[:3] + b"\x05" + bytes(answer)[4:22] + b"\x00\x01\x00"


def nothing_in_it(request: Message, _: Address) -> bytes:
    """An answer without an address."""
    return bytes(Message(Method.BINDING, Class.RESPONSE, request.transaction_id))


def refusal(request: Message, _: Address) -> bytes:
    """A refusal, in words that would disturb a terminal."""
    wrong = {"ERROR-CODE": (420, "go\x1b[2Jaway")}
    return bytes(Message(Method.BINDING, Class.ERROR, request.transaction_id, wrong))


@pytest.mark.parametrize(
    ("respond", "found", "heard"),
    [
        (silence, "does not answer", False),
        (garbage, "does not answer", False),
        (odd, "does not answer", False),
        (nothing_in_it, "not as such a server does", True),
        (refusal, r"refuses (420: go\x1b[2Jaway)", True),
    ],
)
def test_a_server_that_does_not_do_its_work(
    servers: ExitStack, respond: Respond, found: str, heard: bool
) -> None:
    """Nothing comes back that is of use: that is found, with what to do, in the time there is; UDP may be all right."""
    server = servers.enter_context(StunServer(respond=respond))
    started = time.monotonic()
    looked = look(server.url, timeout=0.3)
    assert time.monotonic() - started < 3
    assert list(looked) == ["UDP", server.url]
    assert found in looked[server.url].found
    assert looked["UDP"].good is heard
    assert not looked[server.url].good
    assert all(check.good or check.remedy for check in looked.values())


def test_a_turn_server_that_refuses(servers: ExitStack) -> None:
    """It does not take our secret; that it says so shows that UDP gets out and back."""

    def no(request: Message, _: Address) -> bytes:
        wrong = {"ERROR-CODE": (401, "Unauthorized"), "REALM": "example", "NONCE": b"once"}
        return bytes(Message(request.message_method, Class.ERROR, request.transaction_id, wrong))

    server = servers.enter_context(StunServer(respond=no))
    found = look(server.url.replace("stun:", f"turn:anna:{SECRET}@"))
    assert {name: check.good for name, check in found.items()} == {
        "UDP": True,
        server.url.replace("stun", "turn"): False,
    }
    assert "refuses this user name or secret" in found[server.url.replace("stun", "turn")].found


def test_one_server_of_two(servers: ExitStack) -> None:
    """One that is silent does not keep the other from being asked: that one answers, and UDP gets out."""
    answers, silent = (servers.enter_context(StunServer(respond=how)) for how in (truth, silence))
    found = look(silent.url, answers.url, timeout=0.3)
    assert [check.good for check in found.values()] == [True, False, True, True]


@pytest.mark.parametrize("name", ["nowhere", "a..b", "x" * 70], ids=len)
def test_a_name_that_nobody_knows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads nowhere, or cannot be one, is said to."""
    really = socket.getaddrinfo

    def unknown(host: str, *rest: Any, **options: Any) -> object:
        if host == "nowhere":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return really(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = look(f"stun:{name}")
    assert found[f"stun:{name}:3478"].found == "is a name that is not known here"
    assert found["UDP"].found.startswith("not tested")


def test_a_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that gives no answer costs no more than the time there is."""
    hanging, given_up = socket.socketpair()

    def hang(*_: object, **__: object) -> None:
        hanging.recv(1)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with hanging, given_up:
        found = look("stun:slow.example", timeout=0.1)
        assert found["stun:slow.example:3478"].found == "does not answer"
        assert found["UDP"].found.startswith("not tested")
        given_up.send(b"!")


@pytest.mark.parametrize(
    ("transport", "tls"), [("udp", ""), ("tcp", ""), ("tcp", "s")], ids=["udp", "tcp", "tls"]
)
def test_a_turn_server_that_is_silent(transport: str, tls: str) -> None:
    """A TURN server that takes a connection, or a packet, and says nothing is not waited for; no secret is shown."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as silent:
        silent.bind(("127.0.0.1", 0))
        if transport == "tcp":
            silent.listen()
        where = f"127.0.0.1:{silent.getsockname()[1]}?transport={transport}"
        found = look(f"turn{tls}:anna:{SECRET}@{where}", timeout=0.3)
    (turn,) = (check for check in found.values() if check.what.startswith("turn"))
    assert (turn.good, turn.found) == (False, "does not answer")
    assert SECRET not in repr(found)


def test_no_turn_server_there() -> None:
    """Where nobody listens, that is said at once."""
    found = look(f"turn:anna:{SECRET}@127.0.0.1:9?transport=tcp")
    assert found["turn:127.0.0.1:9?transport=tcp"].found == "cannot be reached (connection refused)"
    assert (found["UDP"].good, found["UDP"].found[:10]) == (True, "not tested")


def test_no_server() -> None:
    """Without servers none is asked, and that is no fault."""
    assert [(check.what, check.good) for check in look().values()] == [("WebRTC", True)]
