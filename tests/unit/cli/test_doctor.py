"""The doctor's findings about NATs, with the test's own servers on this machine."""

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
# Seconds. A request is repeated after 0.5.
TIMEOUT = 1.2


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """Servers that end with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def _behind_a_nat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat loopback, where these servers see us, as the outer address of a NAT."""
    monkeypatch.setattr(doctor, "local_addresses", lambda *_: ["192.0.2.2"])


def look(*servers: str, timeout: float = TIMEOUT) -> dict[str, Check]:
    """The doctor's findings with these servers, by subject."""
    found = {check.what: check for check in checks(None, ice_servers(servers), timeout)}
    names = list(found)
    return {name: found[name] for name in names[names.index("relay") + 1 : names.index("Jupyter extension")]}


def test_a_server_that_answers(servers: ExitStack) -> None:
    """UDP works and the server reports our address. One server alone tells nothing about the NAT."""
    server = servers.enter_context(StunServer())
    found = look(server.url)
    assert list(found) == ["UDP", server.url, "NAT"]
    assert all(check.good for check in found.values())
    assert found[server.url].found == f"sees us at 127.0.0.1:{server.heard[0][1]}"
    assert "name two" in found["NAT"].found


def test_a_nat_that_keeps_its_port(servers: ExitStack) -> None:
    """Two servers that report the same address prove that a direct path is possible."""
    pair = [servers.enter_context(StunServer(host)) for host in TWO_HOSTS]
    nat = look(*(server.url for server in pair))["NAT"]
    assert nat.good
    assert "passes it" in nat.found
    assert pair[0].heard == pair[1].heard


def another_port(request: Message, address: Address) -> bytes:
    """An address with another port than that of the request."""
    return truth(request, (address[0], address[1] ^ 1))


def test_a_nat_that_changes_its_port(servers: ExitStack) -> None:
    """Two servers that report different ports are a finding with advice."""
    pair = zip(TWO_HOSTS, (truth, another_port), strict=True)
    urls = [servers.enter_context(StunServer(host, respond=respond)).url for host, respond in pair]
    nat = look(*urls)["NAT"]
    assert not nat.good
    assert "TURN" in nat.remedy


@pytest.mark.parametrize("respond", [truth, another_port])
def test_two_names_of_one_server(servers: ExitStack, respond: Respond) -> None:
    """Two names of one server tell as little about the NAT as one name."""
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
    """Answers are compared per socket, and only those from beyond the NAT."""
    monkeypatch.setattr(doctor, "local_addresses", lambda *_: ["192.0.2.2", "2001:db8::2"])
    seen = [
        StunAnswer(IceServer("stun", "stun.example", 3478), address, asked=f"{network}{host}", heard=True)
        for network, addresses in (("198.51.100.", four), ("2001:db8:1::", six))
        for host, address in enumerate(addresses, 1)
    ]
    assert found in doctor._nat(seen).found


def test_no_nat(servers: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sees us at an address of this machine proves that no NAT lies between."""
    monkeypatch.setattr(doctor, "local_addresses", lambda *_: ["127.0.0.1"])
    assert "none: " in look(servers.enter_context(StunServer()).url)["NAT"].found


def test_a_packet_that_is_lost(servers: ExitStack) -> None:
    """An unanswered request is repeated."""
    dropped: list[Address] = []

    def drop_the_first(request: Message, address: Address) -> bytes:
        dropped.append(address)
        return truth(request, address) if len(dropped) > 1 else b""

    server = servers.enter_context(StunServer(respond=drop_the_first))
    assert look(server.url)[server.url].good
    assert len(dropped) == 2


def garbage(_: Message, __: Address) -> bytes:
    """Bytes that are no STUN message."""
    return b"\x01\x01\xff"


def odd(request: Message, _: Address) -> bytes:
    """An answer with an attribute of wrong length."""
    answer = Message(Method.BINDING, Class.RESPONSE, request.transaction_id, {"PRIORITY": 1})
    return bytes(answer)[:3] + b"\x05" + bytes(answer)[4:22] + b"\x00\x01\x00"


def nothing_in_it(request: Message, _: Address) -> bytes:
    """An answer without an address."""
    return bytes(Message(Method.BINDING, Class.RESPONSE, request.transaction_id))


def refusal(request: Message, _: Address) -> bytes:
    """A refusal in words that would disturb a terminal."""
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
def test_a_useless_server(servers: ExitStack, respond: Respond, found: str, heard: bool) -> None:
    """A useless answer is a finding with advice within the timeout. UDP may still work."""
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
    """A TURN server that refuses the secret is a finding, and proves that UDP works."""

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
    """A silent server does not stop the doctor from asking the other one, which proves that UDP works."""
    answers, silent = (servers.enter_context(StunServer(respond=how)) for how in (truth, silence))
    found = look(silent.url, answers.url, timeout=0.3)
    assert [check.good for check in found.values()] == [True, False, True, True]


@pytest.mark.parametrize("name", ["nowhere", "a..b", "x" * 70], ids=len)
def test_an_unknown_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown or invalid name is a finding."""
    really = socket.getaddrinfo

    def unknown(host: str, *rest: Any, **options: Any) -> object:
        if host == "nowhere":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return really(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = look(f"stun:{name}")
    assert found[f"stun:{name}:3478"].found == "is a name that is not known here"
    assert found["UDP"].found.startswith("not tested")


def test_a_lookup_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver without an answer costs no more than the timeout."""
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
    """The doctor does not wait for a silent TURN server, by TCP or UDP, and shows no secret."""
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
    """A refused connection is reported at once."""
    found = look(f"turn:anna:{SECRET}@127.0.0.1:9?transport=tcp")
    assert found["turn:127.0.0.1:9?transport=tcp"].found == "cannot be reached (connection refused)"
    assert (found["UDP"].good, found["UDP"].found[:10]) == (True, "not tested")


def test_no_server() -> None:
    """Without servers none is asked, and the doctor finds no fault."""
    assert [(check.what, check.good) for check in look().values()] == [("WebRTC", True)]
