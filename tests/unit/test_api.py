"""The arguments of ``send`` and ``receive``. Whole transfers are tested in tests/faults."""

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
    """Records the requests to the engine, in an empty environment, and starts no transfer."""
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
    """End the process that was to run this transfer, just after it was recorded."""
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
    """Invalid arguments raise ValueError at once, and no transfer starts."""
    with pytest.raises(ValueError, match=message):
        send(arguments.pop("paths", "x"), **arguments)
    assert not started


def test_defaults_of_send(started: list[Start]) -> None:
    """By default one receiver gets a code of three words, with the limits' ttl, over any path."""
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
    """A ticket is made on request, and for more than one receiver."""
    send("x", code=code, to=to)
    record = started[0].record
    assert isinstance(parse(record.invitation), Ticket)
    assert record.receivers == to


@pytest.mark.parametrize("words", [3, 5, 8])
def test_longer_codes(started: list[Start], words: int) -> None:
    """A code may have more words, and no two are the same."""
    send("x", code=words)
    send("x", code=words)
    first, second = (start.record.invitation for start in started)
    assert len(first.split("-")) == words
    assert first != second


def test_paths(started: list[Start], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One path or several, as str or Path, become absolute. Only the engine reads them."""
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
def test_text_that_is_no_code(started: list[Start], code: str) -> None:
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
    """Invalid arguments raise ValueError at once, and no transfer starts."""
    with pytest.raises(ValueError, match=message):
        receive(CODE, **arguments)
    assert not started


def test_the_relay_of_a_code(started: list[Start], monkeypatch: pytest.MonkeyPatch) -> None:
    """The code's relay is used unless the call names another one. Without any, ``receive`` fails."""
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


def test_defaults_of_receive(started: list[Start], tmp_path: Path) -> None:
    """By default a waiting user is asked, and files go to the given folder."""
    transfer = receive(CODE, to=tmp_path)
    (one,) = started
    assert not one.settings.asks
    assert (transfer._face, transfer._interactive, transfer._decide) == (faces.TEXT, True, None)
    record = one.record
    assert (record.code, record.to, record.relay.url) == (CODE, str(tmp_path), "http://127.0.0.1:8888/")


@pytest.mark.parametrize("accept", [True, False])
def test_a_decision_beforehand(started: list[Start], accept: bool) -> None:
    """``accept=True`` or ``False`` decides without a question."""
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


# ---------------------------------------------------------------- a person's choices
Picking = tuple[str, Callable[[Any], Any]]
PICKED = [Entry("d/b", 1, 7), Entry("d", folder=True), Entry("a", 5, 7)]


@pytest.fixture
def picking(started: list[Start], monkeypatch: pytest.MonkeyPatch) -> list[Start]:
    """A notebook whose cards are pairs: their kind, and the function that a choice calls."""
    monkeypatch.setattr(faces, "picker", lambda kind, begin: (kind, begin))
    return started


def begin(card: Any, kind: Role, chosen: Any) -> None:
    """Choose in a card."""
    what_for, lead_on = card
    assert what_for == kind
    lead_on(chosen)


def test_picked_files_are_sent(picking: list[Start], tmp_path: Path) -> None:
    """Picked files of the kernel are sent by path, those of a browser in sorted order, so that equal choices match."""
    begin(send(to=2, expires=60), Role.SEND, [str(tmp_path)])
    begin(send(), Role.SEND, PICKED)
    ours, theirs = (one.record for one in picking)
    assert (ours.paths, ours.entries, ours.receivers) == ((str(tmp_path),), (), 2)
    assert (theirs.paths, [entry.path for entry in theirs.entries]) == ((), ["a", "d", "d/b"])


def test_a_typed_code_is_received(picking: list[Start], tmp_path: Path) -> None:
    """Text that is no code is refused, and the card can be used again."""
    card = receive(to=tmp_path, accept=True)
    with pytest.raises(CodeInvalid):
        begin(card, Role.RECEIVE, "?")
    begin(card, Role.RECEIVE, CODE)
    (one,) = picking
    assert (one.record.code, one.record.to) == (CODE, str(tmp_path))


def test_picked_files_are_uploaded(picking: list[Start], tmp_path: Path) -> None:
    """Picked files are uploaded into the given folder with the given settings, without a question."""
    begin(upload(tmp_path, overwrite="replace"), Role.UPLOAD, PICKED)
    (one,) = picking
    assert (one.record.to, one.record.overwrite) == (str(tmp_path), Overwrite.REPLACE)
    assert [entry.path for entry in one.record.entries] == ["a", "d", "d/b"]
    assert not one.settings.asks


def test_the_same_upload_is_resumed(picking: list[Start], tmp_path: Path) -> None:
    """The same files resume the upload under its record. Other files or another folder make another one."""
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
def test_hidden_names_need_permission(picking: list[Start], hidden: bool) -> None:
    """Without ``allow_hidden`` a hidden name is refused with advice, before the upload starts."""
    card, chosen = upload(allow_hidden=hidden), [Entry(".bashrc", 1)]
    if hidden:
        begin(card, Role.UPLOAD, chosen)
    else:
        with pytest.raises(UnsafePath, match="Rename it"):
            begin(card, Role.UPLOAD, chosen)
    assert len(picking) == hidden


def test_an_upload_overwrites_in_one_of_three_ways() -> None:
    """``overwrite`` has the values of ``receive``."""
    with pytest.raises(ValueError, match="overwrite"):
        upload(overwrite="ask")  # type: ignore[arg-type]


# ---------------------------------------------------------------- the environment
def test_the_environment(started: list[Start], monkeypatch: pytest.MonkeyPatch) -> None:
    """Relay and listening address may come from the environment, and an argument precedes it."""
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
    """The ICE servers of each started transfer."""
    return [[str(server) for server in start.settings.ice] for start in started]


@pytest.mark.parametrize(
    "start", [lambda **options: send("x", **options), lambda **options: receive(CODE, **options)]
)
def test_ice_servers(
    started: list[Start], monkeypatch: pytest.MonkeyPatch, start: Callable[..., Any]
) -> None:
    """ICE servers come from the argument, else from the environment, else one public server. They may be none."""
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


def test_ice_servers_of_a_resumed_transfer(started: list[Start], monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed transfer keeps its given servers with credentials, or takes new ones, else those of the environment."""
    send("named", ice_servers=TURN)
    send("not named")
    receive(CODE, ice_servers=TURN)
    for start in started[:]:
        left(start)
    monkeypatch.setenv("NBFERRY_ICE_SERVERS", "stun:now")
    named, unnamed, received = (start.record.id for start in started)
    for repeat in (
        lambda: resume(named),
        lambda: resume(unnamed),
        lambda: receive(CODE),
        lambda: send("named", ice_servers="stun:new"),
    ):
        repeat()
        portal.stop()
    over_turn = ["turn:turn.example:3478?transport=tcp"]
    assert asked(started[3:]) == [over_turn, ["stun:now:3478"], over_turn, ["stun:new:3478"]]
    assert [start.record.id for start in started[3:]] == [named, unnamed, received, named]
    assert [start.ice and str(start.ice[0]) for start in started[3:]] == [None, None, None, "stun:new:3478"]
    assert started[3].settings.ice[0].credential == "hush"


def test_given_ice_servers_precede_a_wrong_environment(
    started: list[Start], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With given servers the environment is not read, not even for a resumed transfer."""
    monkeypatch.setenv("NBFERRY_ICE_SERVERS", "stun.example")
    send("x", ice_servers=TURN)
    receive(CODE, ice_servers=[])
    for start in started[:]:
        left(start)
    sent = started[0].record.id
    for repeat in (lambda: resume(sent), lambda: send("x", ice_servers="stun:new"), lambda: receive(CODE)):
        repeat()
        portal.stop()
    over_turn = ["turn:turn.example:3478?transport=tcp"]
    assert asked(started) == [over_turn, [], over_turn, ["stun:new:3478"], []]


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::", ""])
def test_listening_everywhere(started: list[Start], monkeypatch: pytest.MonkeyPatch, everywhere: str) -> None:
    """A wildcard address selects no particular one."""
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
    """A wrong variable raises a ValueError that names it."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        send("x")
    assert not started


def test_an_invalid_relay(started: list[Start]) -> None:
    """An address that cannot be a relay's is refused at once."""
    with pytest.raises(CodeInvalid, match="relay"):
        send("x", relay="ftp://x")
    assert not started


def test_transfers_without_any() -> None:
    """Before the first send or receive, no transfers are listed."""
    portal.stop()
    assert transfers() == []
