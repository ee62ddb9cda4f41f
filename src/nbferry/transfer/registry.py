"""What runs in this process: its one engine, and the transfers in it, from any thread."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TypeVar

from nbferry.engine.activities.activity import Activity
from nbferry.engine.engine import Engine
from nbferry.engine.portal import Portal, portal
from nbferry.status import Snapshot
from nbferry.storage.records.record import AnyRecord
from nbferry.transfer.handle import FACELESS, Face, Transfer

Begin = Callable[[Engine], Activity]
"""Makes an activity, on the engine's thread, and does not start it."""

F = TypeVar("F", bound=AnyRecord | None)

_engines: dict[Portal, Engine] = {}


def _engine() -> Engine:
    """The engine of this process; on its own thread."""
    used = portal()
    if used not in _engines:
        engine = _engines[used] = Engine()
        used.at_stop(engine.aclose)
    return _engines[used]


def start(begin: Begin, face: Face = FACELESS, *, asks: bool = False) -> Transfer:
    """Run an activity; with ``asks`` its offer is put to a person who waits, by ``face``."""
    used = portal()
    return Transfer(used.ask(lambda: _engine().start(begin(_engine()))), used, face, asks=asks)


def rest(
    begin: Begin, view: Snapshot, face: Face, *, take: Callable[[], None], give_up: Callable[[], None]
) -> Transfer:
    """What an earlier process left, shown as ``view``: started by ``resume`` after ``take``, ended by ``give_up``.

    If it runs here already, that; ``face`` as for :func:`start`, and it asks.
    """
    used = portal()

    def look() -> Activity:
        engine = _engine()
        there = engine.activities.get(view.id)
        if there and there.resting:
            there.snapshot = view
        if there and not there.settled.is_set():  # it rests, runs, or is just ending
            return there
        activity = engine.activities[view.id] = begin(engine)

        def wake() -> None:
            take()
            engine.start(activity)

        activity.rest(view, start=wake, discard=give_up)
        return activity

    return Transfer(used.ask(look), used, face, asks=True)


def forget_resting(known: Container[str]) -> None:
    """Forget what rests here and is known no more: another process has ended it."""

    def forget() -> None:
        activities = _engine().activities
        for activity in [each for each in activities.values() if each.resting and each.id not in known]:
            del activities[activity.id]

    portal().ask(forget)


def transfers(face: Face = FACELESS) -> list[Transfer]:
    """Those of this process, the oldest first."""
    used = portal()
    return [
        Transfer(activity, used, face) for activity in used.ask(lambda: list(_engine().activities.values()))
    ]


def discarded(name: str) -> None:
    """What was kept of this transfer was removed: if it rests here, whoever holds it is told."""

    def tell() -> None:
        activity = _engine().activities.get(name)
        if activity and activity.resting:
            activity.discarded()

    portal().ask(tell)


def transfer(name: str, face: Face = FACELESS, *, asks: bool = False) -> Transfer | None:
    """The transfer of this id, if it runs in this process; ``face`` and ``asks`` as for :func:`start`."""
    activity = _activity(name)
    if activity is None or activity.resting or activity.result.done():
        return None
    return Transfer(activity, portal(), face, asks=asks)


def settled(find: Callable[[], F]) -> F:
    """Find a memo; if its transfer is just ending in this process, look again when it has ended."""
    record = find()
    activity = _activity(record.id) if record is not None else None
    if activity is None or not activity.result.done():
        return record
    activity.settled.wait()
    return find()


def _activity(name: str) -> Activity | None:
    return portal().ask(lambda: _engine().activities.get(name))
