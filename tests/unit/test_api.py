"""What ``send`` and ``receive`` make of their arguments; what comes of it is tested in tests/faults."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import nbferry
from nbferry import faces
from nbferry.api import receive, resume, send, transfers, upload
from nbferry.engine.activities.receive import Intake
from nbferry.engine.activities.send import Offering
from nbferry.engine.engine import Wishes
from nbferry.errors import CodeInvalid, StorageError, UnsafePath
from nbferry.limits import KiB, Limits
from nbferry.model.codes import Code, Ticket, parse
from nbferry.model.ice_servers import PUBLIC_STUN
from nbferry.model.manifest import Entry, Manifest
from nbferry.storage.sources.pages import PageFiles
from nbferry.transfer import registry
from nbferry.transfer.handle import Face

CODE = "482913-amber-canyon-tulip@http://127.0.0.1:8888/"
MANIFEST = Manifest.of([Entry("d", folder=True), Entry("d/a", 1000), Entry("b\x1b", 0)], 4 * KiB)


@dataclass
class Started:
    """What would have been started."""

    what: Any
    wishes: Wishes
    limits: Limits
    face: Face
    asks: bool


class Engine:
    """Takes note of what it is given."""

    def sending(self, offering: Offering, wishes: Wishes, limits: Limits) -> tuple[Any, Wishes, Limits]:
        """Take note of what is to be sent."""
        return offering, wishes, limits

    def receiving(self, intake: Intake, wishes: Wishes, limits: Limits) -> tuple[Any, Wishes, Limits]:
        """Take note of what is to be received."""
        return intake, wishes, limits

    def uploading(
        self, intake: Intake, files: PageFiles, wishes: Wishes, limits: Limits
    ) -> tuple[Any, Wishes, Limits]:
        """Take note of what is to be uploaded."""
        return (intake, files), wishes, limits


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """What was started, in an environment that says nothing."""
    seen: list[Started] = []

    def start(begin: Callable[[Any], Any], face: Face, *, asks: bool = False) -> None:
        seen.append(Started(*begin(Engine()), face, asks))

    monkeypatch.setattr(registry, "start", start)
    for name in ("NBFERRY_RELAY", "NBFERRY_HOST", "NBFERRY_ICE_SERVERS", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    return seen


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
def test_senseless_arguments_of_send(started: list[Started], arguments: dict[str, Any], message: str) -> None:
    """Arguments that make no sense are a ValueError at once, and nothing is started."""
    with pytest.raises(ValueError, match=message):
        send(arguments.pop("paths", "x"), **arguments)
    assert not started


def test_what_is_sent_by_default(started: list[Started]) -> None:
    """One receiver gets a code of three words, for as long as the limits say, over any path."""
    send("x")
    (one,) = started
    record = one.what.store.record
    assert len(record.invitation.split("-")) == 3
    assert record.receivers == 1
    assert record.expires_at - record.created == pytest.approx(Limits().offer_ttl, abs=1)
    assert one.what.agent == f"nbferry/{nbferry.__version__}"
    assert (one.wishes.via, one.wishes.host, one.wishes.relay()) == ("auto", None, None)
    assert one.limits == Limits()


@pytest.mark.parametrize(("code", "to"), [("ticket", 1), ("ticket", 5), (None, 2), (None, None)])
def test_tickets(started: list[Started], code: Any, to: int | None) -> None:
    """A ticket is given to whoever asks for one, and whenever there may be several receivers."""
    send("x", code=code, to=to)
    record = started[0].what.store.record
    assert isinstance(parse(record.invitation), Ticket)
    assert record.receivers == to


@pytest.mark.parametrize("words", [3, 5, 8])
def test_longer_codes(started: list[Started], words: int) -> None:
    """A code may have more words; no two are the same."""
    send("x", code=words)
    send("x", code=words)
    first, second = (start.what.store.record.invitation for start in started)
    assert len(first.split("-")) == words
    assert first != second


def test_paths(started: list[Started], tmp_path: Path) -> None:
    """One path or several, as text or as Path, are looked at later, in the engine."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"bb")
    send(tmp_path / "a", limits=Limits(chunk_size=4 * KiB))
    send([str(tmp_path / "a"), tmp_path / "b"])
    send(tmp_path / "missing")
    one, two, missing = (start.what.open_source for start in started)
    assert (one().manifest.entries[0].path, one().manifest.chunk_size) == ("a", 4 * KiB)
    assert [entry.path for entry in two().manifest.entries] == ["a", "b"]
    with pytest.raises(StorageError):
        missing()


# ---------------------------------------------------------------- receive
@pytest.mark.parametrize(
    "code", ["", "hello", "482913", "482913-amber", "482913-amber-canyon-tulipx", "nbf1aaaa", "x" * 10_000]
)
def test_what_cannot_be_a_code(started: list[Started], code: str) -> None:
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
    started: list[Started], arguments: dict[str, Any], message: str
) -> None:
    """Arguments that make no sense are a ValueError at once, and nothing is started."""
    with pytest.raises(ValueError, match=message):
        receive(CODE, **arguments)
    assert not started


def test_a_code_says_where_to_meet(started: list[Started], monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay is the one of the code, unless another is named here; without any, nothing can be done."""
    monkeypatch.setenv("NBFERRY_RELAY", "https://environment.example")
    receive(CODE)
    receive(CODE, relay="HTTPS://Other.example/base")
    receive(CODE.partition("@")[0])
    relays = [start.wishes.relay() for start in started]
    assert [relay.url for relay in relays if relay] == [
        "http://127.0.0.1:8888/",
        "https://other.example/base/",
        "https://environment.example/",
    ]
    monkeypatch.delenv("NBFERRY_RELAY")
    with pytest.raises(CodeInvalid, match="which relay"):
        receive(CODE.partition("@")[0])


def test_what_is_received_by_default(started: list[Started], tmp_path: Path) -> None:
    """The code is known, nobody has decided, a person may be asked, and the folder is the one that was named."""
    receive(CODE, to=tmp_path)
    (one,) = started
    assert one.what.ticket == parse(CODE)
    assert isinstance(one.what.ticket, Code)
    assert one.what.decide is None
    assert (one.face, one.asks) == (faces.TEXT, True)
    assert one.what.destination.to == tmp_path
    record = one.what.store.record
    assert (record.code, record.to, record.relay.url) == (CODE, str(tmp_path), "http://127.0.0.1:8888/")


@pytest.mark.parametrize("accept", [True, False])
def test_a_decision_beforehand(started: list[Started], accept: bool) -> None:
    """A yes or a no beforehand decides, and nobody is asked."""
    receive(CODE, accept=accept)
    assert started[0].what.decide(MANIFEST) is accept
    assert not started[0].asks


def test_a_decision_by_a_function(started: list[Started]) -> None:
    """A function decides by the manifest."""
    receive(CODE, accept=lambda manifest: manifest.total_bytes < 5 or "too large")
    assert started[0].what.decide(MANIFEST) == "too large"
    assert not started[0].asks


# ---------------------------------------------------------------- what a person picks
Picking = tuple[str, Callable[[Any], Any]]
PICKED = [Entry("d/b", 1, 7), Entry("d", folder=True), Entry("a", 5, 7)]


@pytest.fixture
def picking(started: list[Started], monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """A notebook whose cards are (what they are for, what a choice leads to)."""
    monkeypatch.setattr(faces, "picker", lambda kind, begin: (kind, begin))
    return started


def begin(card: Any, kind: str, chosen: Any) -> None:
    """Choose in a card."""
    what_for, lead_on = card
    assert what_for == kind
    lead_on(chosen)


def test_what_is_picked_is_sent(picking: list[Started], tmp_path: Path) -> None:
    """The kernel's files by their paths; those of a browser's machine in order, so that the same are the same offer."""
    begin(send(to=2, expires=60), "send", [str(tmp_path)])
    begin(send(), "send", PICKED)
    ours, theirs = (one.what.store.record for one in picking)
    assert (ours.paths, ours.entries, ours.receivers) == ((str(tmp_path),), (), 2)
    assert (theirs.paths, [entry.path for entry in theirs.entries]) == ((), ["a", "d", "d/b"])
    assert picking[1].what.page_files.manifest.entries == theirs.entries


def test_what_is_typed_is_received(picking: list[Started], tmp_path: Path) -> None:
    """What cannot be a code is refused then; the card may be asked again."""
    card = receive(to=tmp_path, accept=True)
    with pytest.raises(CodeInvalid):
        begin(card, "receive", "?")
    begin(card, "receive", CODE)
    (one,) = picking
    assert (one.what.ticket, one.what.destination.to) == (parse(CODE), tmp_path)


def test_what_is_picked_is_uploaded(picking: list[Started], tmp_path: Path) -> None:
    """Into the folder and in the way that was named; nobody is asked."""
    begin(upload(tmp_path, overwrite="replace"), "upload", PICKED)
    (one,) = picking
    intake, files = one.what
    assert (intake.destination.to, intake.store.record.overwrite) == (tmp_path, "replace")
    assert [entry.path for entry in files.manifest.entries] == ["a", "d", "d/b"]
    assert intake.decide(files.manifest) is True
    assert intake.ticket is None


def test_the_same_upload_goes_on(
    picking: list[Started], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a second memo; other files, or another folder, are another one."""
    monkeypatch.setattr(registry, "_engines", {})
    card = upload(tmp_path / "to")
    begin(card, "upload", PICKED)
    store = picking[0].what[0].store
    store.update(accepted=True)
    store.rest()
    begin(card, "upload", reversed(PICKED))
    begin(card, "upload", PICKED[1:])
    begin(upload(tmp_path / "other"), "upload", PICKED)
    first, same, *others = (one.what[0].store.record.id for one in picking)
    assert same == first
    assert first not in others
    assert picking[1].asks
    picking[1].what[0].store.rest()


@pytest.mark.parametrize("hidden", [True, False])
def test_hidden_names_are_uploaded_if_that_is_wanted(picking: list[Started], hidden: bool) -> None:
    """Otherwise a person is told what to do, before anything begins."""
    card, chosen = upload(allow_hidden=hidden), [Entry(".bashrc", 1)]
    if hidden:
        begin(card, "upload", chosen)
    else:
        with pytest.raises(UnsafePath, match="Rename it"):
            begin(card, "upload", chosen)
    assert len(picking) == hidden


def test_an_upload_overwrites_in_one_of_three_ways() -> None:
    """As a receive does."""
    with pytest.raises(ValueError, match="overwrite"):
        upload(overwrite="ask")  # type: ignore[arg-type]


# ---------------------------------------------------------------- the environment
def test_the_environment(started: list[Started], monkeypatch: pytest.MonkeyPatch) -> None:
    """Relay and listening address may come from the environment; an argument goes before it."""
    monkeypatch.setenv("NBFERRY_RELAY", "https://relay.example")
    monkeypatch.setenv("NBFERRY_HOST", "127.0.0.1")
    send("x")
    send("x", relay="https://other.example")
    urls = [relay.url for start in started if (relay := start.wishes.relay())]
    assert urls == ["https://relay.example/", "https://other.example/"]
    assert [start.wishes.host for start in started] == ["127.0.0.1", "127.0.0.1"]


TURN = "turn:anna:hush@turn.example?transport=tcp"


def asked(started: list[Started]) -> list[list[str]]:
    """Which STUN and TURN servers each of the started may ask."""
    return [[str(server) for server in start.wishes.ice] for start in started]


@pytest.mark.parametrize(
    "start", [lambda **options: send("x", **options), lambda **options: receive(CODE, **options)]
)
def test_ice_servers(
    started: list[Started], monkeypatch: pytest.MonkeyPatch, start: Callable[..., Any]
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


def test_ice_servers_of_a_transfer_that_goes_on(
    started: list[Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were named, credentials and all, or are named now; else those that the environment has now."""
    send("named", ice_servers=TURN)
    send("not named")
    receive(CODE, ice_servers=TURN)
    for start in started:
        start.what.store.update()
        start.what.store.rest()
    monkeypatch.setenv("NBFERRY_ICE_SERVERS", "stun:now")
    named, unnamed, received = (start.what.store.record.id for start in started)
    for again in (
        lambda: resume(named),
        lambda: resume(unnamed),
        lambda: receive(CODE),
        lambda: send("named", ice_servers="stun:new"),
        lambda: resume(named),
    ):
        again()
        started[-1].what.store.rest()
    over_turn = ["turn:turn.example:3478?transport=tcp"]
    assert asked(started[3:]) == [
        over_turn,
        ["stun:now:3478"],
        over_turn,
        ["stun:new:3478"],
        ["stun:new:3478"],
    ]
    assert [start.what.store.record.id for start in started[3:]] == [named, unnamed, received, named, named]
    assert started[3].wishes.ice[0].credential == "hush"


def test_ice_servers_that_are_named_go_before_a_wrong_environment(
    started: list[Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is not even read then, nor when a transfer goes on for which some were named."""
    monkeypatch.setenv("NBFERRY_ICE_SERVERS", "stun.example")
    send("x", ice_servers=TURN)
    receive(CODE, ice_servers=[])
    for start in started[:2]:
        start.what.store.update()
        start.what.store.rest()
    sent = started[0].what.store.record.id
    for again in (lambda: resume(sent), lambda: send("x", ice_servers="stun:new"), lambda: receive(CODE)):
        again()
        started[-1].what.store.rest()
    over_turn = ["turn:turn.example:3478?transport=tcp"]
    assert asked(started) == [over_turn, [], over_turn, ["stun:new:3478"], []]


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::", ""])
def test_listening_everywhere(
    started: list[Started], monkeypatch: pytest.MonkeyPatch, everywhere: str
) -> None:
    """An address that stands for all of them is none in particular."""
    monkeypatch.setenv("NBFERRY_HOST", everywhere)
    send("x")
    assert started[0].wishes.host is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("NBFERRY_HOST", "here"), ("NBFERRY_RELAY", "ftp://x"), ("NBFERRY_ICE_SERVERS", "stun.example")],
)
def test_a_wrong_environment(
    started: list[Started], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """What is wrong in the environment is a ValueError that names the variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        send("x")
    assert not started


def test_a_relay_that_is_none(started: list[Started]) -> None:
    """An address that cannot be a relay's is refused at once."""
    with pytest.raises(CodeInvalid, match="relay"):
        send("x", relay="ftp://x")
    assert not started


def test_transfers_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything was sent or received there are no transfers."""
    monkeypatch.setattr(registry, "_engines", {})
    assert transfers() == []
