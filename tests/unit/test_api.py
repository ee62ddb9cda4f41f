"""What ``send`` and ``receive`` make of their arguments; what comes of it is tested in tests/faults."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from nbferry import faces
from nbferry.api import receive, resume, send, transfers, upload
from nbferry.connections.settings import Settings
from nbferry.engine import portal
from nbferry.engine.client import EngineClient
from nbferry.engine.messages import Start
from nbferry.errors import CodeInvalid, UnsafePath
from nbferry.limits import KiB, Limits
from nbferry.model.codes import Ticket, parse
from nbferry.model.ice_servers import PUBLIC_STUN, ice_servers
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.overwrite import Overwrite
from nbferry.model.roles import Role
from nbferry.storage.records.record import SendRecord

CODE = "482913-amber-canyon-tulip@http://127.0.0.1:8888/"
MANIFEST = Manifest.of([Entry("d", folder=True), Entry("d/a", 1000), Entry("b\x1b", 0)], 4 * KiB)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Start]]:
    """What the engine was told to start, in an environment that says nothing; nothing is started."""
    seen: list[Start] = []

    def start(_: EngineClient, start: Start) -> Future[None]:
        seen.append(start)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    monkeypatch.setattr(EngineClient, "start", start)
    for name in ("NBFERRY_RELAY", "NBFERRY_HOST", "NBFERRY_ICE_SERVERS", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    yield seen
    portal.stop()


def left(start: Start) -> None:
    """The process ends that was to run this, as soon as the transfer was written down."""
    start.folders.ledger().save(start.record)
    portal.stop()


# ---------------------------------------------------------------- send
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paths": []}, "nothing to send"),
        ({"paths": ""}, "nothing to send"),
        ({"paths": ["a", ""]}, "nothing to send"),
        ({"to": 0}, "at least 1"),
        ({"to": -1}, "at least 1"),
        ({"code": 2}, "from 3 to 8"),
        ({"code": 9}, "from 3 to 8"),
        ({"code": 3.0}, "from 3 to 8"),
        ({"code": True}, "from 3 to 8"),
        ({"code": "words"}, "from 3 to 8"),
        ({"code": 3, "to": 2}, "one receiver"),
        ({"code": 3, "to": None}, "one receiver"),
        ({"via": "pigeon"}, "via must be"),
        ({"ice_servers": "http://x"}, "ICE server"),
        ({"ice_servers": [7]}, "ICE server"),
        ({"expires": 0}, "expires must be"),
        ({"expires": -1}, "expires must be"),
        ({"expires": math.nan}, "expires must be"),
        ({"expires": math.inf}, "expires must be"),
    ],
    ids=str,
)
def test_senseless_arguments_of_send(started: list[Start], arguments: dict[str, Any], message: str) -> None:
    """Arguments that make no sense are a ValueError at once, and nothing is started."""
    with pytest.raises(ValueError, match=message):
        send(arguments.pop("paths", "x"), **arguments)
    assert not started


def test_what_is_sent_by_default(started: list[Start]) -> None:
    """One receiver gets a code of three words, for as long as the limits say, over any path."""
    send("x")
    (one,) = started
    record = one.record
    assert isinstance(record, SendRecord)
    assert len(record.invitation.split("-")) == 3
    assert (record.receivers, record.relay, record.ice) == (1, None, None)
    assert record.expires_at - record.created == pytest.approx(Limits().offer_ttl, abs=1)
    assert one.settings == Settings(ice=ice_servers(PUBLIC_STUN))
    assert not one.resume


@pytest.mark.parametrize(("code", "to"), [("ticket", 1), ("ticket", 5), (None, 2), (None, None)])
def test_tickets(started: list[Start], code: Any, to: int | None) -> None:
    """A ticket is given where one is asked for, and whenever there may be several receivers."""
    send("x", code=code, to=to)
    record = started[0].record
    assert isinstance(parse(record.invitation), Ticket)
    assert record.receivers == to


@pytest.mark.parametrize("words", [3, 5, 8])
def test_longer_codes(started: list[Start], words: int) -> None:
    """A code may have more words; no two are the same."""
    send("x", code=words)
    send("x", code=words)
    first, second = (start.record.invitation for start in started)
    assert len(first.split("-")) == words
    assert first != second


def test_paths(started: list[Start], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One path or several, as text or as Path, are made absolute and looked at later, in the engine."""
    monkeypatch.chdir(tmp_path)
    send("a", limits=Limits(chunk_size=4 * KiB))
    send([str(tmp_path / "a"), Path("b")])
    one, two = (start.record for start in started)
    assert (one.paths, one.chunk_size) == ((str(tmp_path / "a"),), 4 * KiB)
    assert two.paths == (str(tmp_path / "a"), str(tmp_path / "b"))


# ---------------------------------------------------------------- receive
@pytest.mark.parametrize(
    "code", ["", "hello", "482913", "482913-amber", "482913-amber-canyon-tulipx", "nbf1aaaa", "x" * 10_000]
)
def test_what_cannot_be_a_code(started: list[Start], code: str) -> None:
    """A code that nbferry cannot have issued is refused at once, without a guess."""
    with pytest.raises(CodeInvalid):
        receive(code)
    assert not started


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overwrite": "maybe"}, "overwrite must be"),
        ({"via": "pigeon"}, "via must be"),
        ({"ice_servers": "turn:x"}, "TURN server at x"),
    ],
    ids=str,
)
def test_senseless_arguments_of_receive(
    started: list[Start], arguments: dict[str, Any], message: str
) -> None:
    """Arguments that make no sense are a ValueError at once, and nothing is started."""
    with pytest.raises(ValueError, match=message):
        receive(CODE, **arguments)
    assert not started


def test_a_code_says_where_to_meet(started: list[Start], monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay is the one of the code, unless another is named here; without any, nothing can be done."""
    monkeypatch.setenv("NBFERRY_RELAY", "https://environment.example")
    receive(CODE)
    receive(CODE, relay="HTTPS://Other.example/base")
    receive(CODE.partition("@")[0])
    assert [start.record.relay.url for start in started] == [
        "http://127.0.0.1:8888/",
        "https://other.example/base/",
        "https://environment.example/",
    ]
    monkeypatch.delenv("NBFERRY_RELAY")
    with pytest.raises(CodeInvalid, match="which relay"):
        receive(CODE.partition("@")[0])


def test_what_is_received_by_default(started: list[Start], tmp_path: Path) -> None:
    """The code is known, a person who waits is asked, and the folder is the one that was named."""
    transfer = receive(CODE, to=tmp_path)
    (one,) = started
    assert not one.settings.asks
    assert (transfer._face, transfer._interactive, transfer._decide) == (faces.TEXT, True, None)
    record = one.record
    assert (record.code, record.to, record.relay.url) == (CODE, str(tmp_path), "http://127.0.0.1:8888/")


@pytest.mark.parametrize("accept", [True, False])
def test_a_decision_beforehand(started: list[Start], accept: bool) -> None:
    """A yes or a no beforehand decides, and no person is asked."""
    transfer = receive(CODE, accept=accept)
    assert transfer._decide(MANIFEST) is accept
    assert (started[0].settings.asks, started[0].record.accept_all) == (True, accept)
    assert not transfer._interactive


def test_a_decision_by_a_function(started: list[Start]) -> None:
    """A function decides by the manifest."""
    transfer = receive(CODE, accept=lambda manifest: manifest.total_bytes < 5 or "too large")
    assert transfer._decide(MANIFEST) == "too large"
    assert not transfer._interactive
    assert not started[0].record.accept_all


# ---------------------------------------------------------------- what a person picks
Picking = tuple[str, Callable[[Any], Any]]
PICKED = [Entry("d/b", 1, 7), Entry("d", folder=True), Entry("a", 5, 7)]


@pytest.fixture
def picking(started: list[Start], monkeypatch: pytest.MonkeyPatch) -> list[Start]:
    """A notebook whose cards are (what they are for, what a choice leads to)."""
    monkeypatch.setattr(faces, "picker", lambda kind, begin: (kind, begin))
    return started


def begin(card: Any, kind: Role, chosen: Any) -> None:
    """Choose in a card."""
    what_for, lead_on = card
    assert what_for == kind
    lead_on(chosen)


def test_what_is_picked_is_sent(picking: list[Start], tmp_path: Path) -> None:
    """The kernel's files by their paths; those of a browser's machine in order, so that the same are the same offer."""
    begin(send(to=2, expires=60), Role.SEND, [str(tmp_path)])
    begin(send(), Role.SEND, PICKED)
    ours, theirs = (one.record for one in picking)
    assert (ours.paths, ours.entries, ours.receivers) == ((str(tmp_path),), (), 2)
    assert (theirs.paths, [entry.path for entry in theirs.entries]) == ((), ["a", "d", "d/b"])


def test_what_is_typed_is_received(picking: list[Start], tmp_path: Path) -> None:
    """What cannot be a code is refused then; the card may be asked again."""
    card = receive(to=tmp_path, accept=True)
    with pytest.raises(CodeInvalid):
        begin(card, Role.RECEIVE, "?")
    begin(card, Role.RECEIVE, CODE)
    (one,) = picking
    assert (one.record.code, one.record.to) == (CODE, str(tmp_path))


def test_what_is_picked_is_uploaded(picking: list[Start], tmp_path: Path) -> None:
    """Into the folder and in the way that was named; nobody is asked."""
    begin(upload(tmp_path, overwrite="replace"), Role.UPLOAD, PICKED)
    (one,) = picking
    assert (one.record.to, one.record.overwrite) == (str(tmp_path), Overwrite.REPLACE)
    assert [entry.path for entry in one.record.entries] == ["a", "d", "d/b"]
    assert not one.settings.asks


def test_the_same_upload_is_resumed(picking: list[Start], tmp_path: Path) -> None:
    """Without a second record; other files, or another folder, are another one."""
    card = upload(tmp_path / "to")
    begin(card, Role.UPLOAD, PICKED)
    left(picking[0])
    begin(card, Role.UPLOAD, reversed(PICKED))
    begin(card, Role.UPLOAD, PICKED[1:])
    begin(upload(tmp_path / "other"), Role.UPLOAD, PICKED)
    first, same, *others = (one.record.id for one in picking)
    assert same == first
    assert first not in others
    assert [one.resume for one in picking] == [False, True, False, False]


@pytest.mark.parametrize("hidden", [True, False])
def test_hidden_names_are_uploaded_if_that_is_wanted(picking: list[Start], hidden: bool) -> None:
    """Otherwise a person is told what to do, before anything begins."""
    card, chosen = upload(allow_hidden=hidden), [Entry(".bashrc", 1)]
    if hidden:
        begin(card, Role.UPLOAD, chosen)
    else:
        with pytest.raises(UnsafePath, match="Rename it"):
            begin(card, Role.UPLOAD, chosen)
    assert len(picking) == hidden


def test_an_upload_overwrites_in_one_of_three_ways() -> None:
    """As a receive does."""
    with pytest.raises(ValueError, match="overwrite"):
        upload(overwrite="ask")  # type: ignore[arg-type]


# ---------------------------------------------------------------- the environment
def test_the_environment(started: list[Start], monkeypatch: pytest.MonkeyPatch) -> None:
    """Relay and listening address may come from the environment; an argument goes before it."""
    monkeypatch.setenv("NBFERRY_RELAY", "https://relay.example")
    monkeypatch.setenv("NBFERRY_HOST", "127.0.0.1")
    send("x")
    send("x", relay="https://other.example")
    first, second = started
    assert (first.record.relay, first.settings.relay) == (None, "https://relay.example/")
    assert second.record.relay.url == "https://other.example/"
    assert [start.settings.host for start in started] == ["127.0.0.1", "127.0.0.1"]


TURN = "turn:anna:hush@turn.example?transport=tcp"


def asked(started: list[Start]) -> list[list[str]]:
    """Which STUN and TURN servers each of the started may ask."""
    return [[str(server) for server in start.settings.ice] for start in started]


@pytest.mark.parametrize(
    "start", [lambda **options: send("x", **options), lambda **options: receive(CODE, **options)]
)
def test_ice_servers(
    started: list[Start], monkeypatch: pytest.MonkeyPatch, start: Callable[..., Any]
) -> None:
    """Those that are named, else those of the environment, else a public one; no server may be meant too."""
    start()
    start(ice_servers=TURN)
    monkeypatch.setenv("NBFERRY_ICE_SERVERS", "stun:a,stun:b:1")
    start()
    start(ice_servers=[{"urls": "stun:c"}])
    start(ice_servers=[])
    monkeypatch.setenv("NBFERRY_ICE_SERVERS", "")
    start()
    assert asked(started) == [
        [PUBLIC_STUN],
        ["turn:turn.example:3478?transport=tcp"],
        ["stun:a:3478", "stun:b:1"],
        ["stun:c:3478"],
        [],
        [],
    ]


def test_ice_servers_of_a_transfer_that_is_resumed(
    started: list[Start], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were named, credentials and all, or are named now; else those that the environment has now."""
    send("named", ice_servers=TURN)
    send("not named")
    receive(CODE, ice_servers=TURN)
    for start in started[:]:
        left(start)
    monkeypatch.setenv("NBFERRY_ICE_SERVERS", "stun:now")
    named, unnamed, received = (start.record.id for start in started)
    for again in (
        lambda: resume(named),
        lambda: resume(unnamed),
        lambda: receive(CODE),
        lambda: send("named", ice_servers="stun:new"),
    ):
        again()
        portal.stop()
    over_turn = ["turn:turn.example:3478?transport=tcp"]
    assert asked(started[3:]) == [over_turn, ["stun:now:3478"], over_turn, ["stun:new:3478"]]
    assert [start.record.id for start in started[3:]] == [named, unnamed, received, named]
    assert [start.ice and str(start.ice[0]) for start in started[3:]] == [None, None, None, "stun:new:3478"]
    assert started[3].settings.ice[0].credential == "hush"


def test_ice_servers_that_are_named_go_before_a_wrong_environment(
    started: list[Start], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is not even read then, nor when a transfer is resumed for which some were named."""
    monkeypatch.setenv("NBFERRY_ICE_SERVERS", "stun.example")
    send("x", ice_servers=TURN)
    receive(CODE, ice_servers=[])
    for start in started[:]:
        left(start)
    sent = started[0].record.id
    for again in (lambda: resume(sent), lambda: send("x", ice_servers="stun:new"), lambda: receive(CODE)):
        again()
        portal.stop()
    over_turn = ["turn:turn.example:3478?transport=tcp"]
    assert asked(started) == [over_turn, [], over_turn, ["stun:new:3478"], []]


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::", ""])
def test_listening_everywhere(started: list[Start], monkeypatch: pytest.MonkeyPatch, everywhere: str) -> None:
    """An address that stands for all of them is none in particular."""
    monkeypatch.setenv("NBFERRY_HOST", everywhere)
    send("x")
    assert started[0].settings.host is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("NBFERRY_HOST", "here"), ("NBFERRY_RELAY", "ftp://x"), ("NBFERRY_ICE_SERVERS", "stun.example")],
)
def test_a_wrong_environment(
    started: list[Start], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """What is wrong in the environment is a ValueError that names the variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        send("x")
    assert not started


def test_a_relay_that_is_none(started: list[Start]) -> None:
    """An address that cannot be a relay's is refused at once."""
    with pytest.raises(CodeInvalid, match="relay"):
        send("x", relay="ftp://x")
    assert not started


def test_transfers_without_any() -> None:
    """Before anything was sent or received there are no transfers."""
    portal.stop()
    assert transfers() == []
