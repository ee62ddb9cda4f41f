"""All values between faces and the engine can be pickled, so that the engine could be another process."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

import nbferry
from faults.ends import Watch, tree
from nbferry import errors
from nbferry.engine import messages, portal
from nbferry.engine.client import EngineClient
from nbferry.errors import NbferryError
from nbferry.limits import KiB, MiB
from pages import Lender, lent, upload

CROSSING = (
    messages.Start,
    *get_args(messages.Command),
    *get_args(messages.Query),
    *get_args(messages.Notice),
)
FILES = {"trips/a.bin": bytes(range(256)) * 300, "trips/empty": b""}


@pytest.fixture
def crossed(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Pickle every value on its way to the engine and back. Yields the kinds of values that crossed."""
    seen: set[str] = set()

    def crossing(_: EngineClient, value: Any) -> Any:
        seen.add(type(value).__name__)
        return pickle.loads(pickle.dumps(value))  # noqa: S301  # the test pickled it

    monkeypatch.setattr(EngineClient, "crossing", crossing)
    yield seen
    portal.stop()


@pytest.mark.parametrize("kind", CROSSING, ids=lambda kind: kind.__name__)
def test_crossing_values_are_frozen(kind: type) -> None:
    """Crossing values cannot be changed by the other side."""
    assert is_dataclass(kind)
    values = {field.name: None for field in fields(kind) if field.init}
    made = kind(**values)
    for name in values:
        with pytest.raises(FrozenInstanceError):
            setattr(made, name, 1)


def test_a_send_and_a_receive(crossed: set[str], tmp_path: Path) -> None:
    """A send and a receive need only crossing values: records, commands, a question, reports and results."""
    source = tmp_path / "x.bin"
    source.write_bytes(bytes(3 * MiB))
    sending = nbferry.send(source)
    receiving = nbferry.receive(sending.code, to=tmp_path / "to", accept=lambda offer: offer.total_bytes > 5)
    receiving.pause()
    receiving.resume()
    assert receiving.wait().bytes == sending.wait().bytes == 3 * MiB
    assert [file.durable for file in receiving.files] == [3 * MiB]
    assert sending.skipped == ()
    expected = {
        "Start",
        "Report",
        "Decide",
        "Manifest",
        "GetOffer",
        "GetFiles",
        "GetSkipped",
        "Pause",
        "Resume",
    }
    assert expected <= crossed


def test_an_upload(crossed: set[str], tmp_path: Path) -> None:
    """A page's messages cross as bytes, and its arrival and departure as a name."""
    transfer = upload(FILES, tmp_path / "to")
    page = Lender(FILES)
    lent(transfer).lend(page)
    lent(transfer).gone(page)
    lent(transfer).lend(page)
    assert transfer.wait().bytes == sum(map(len, FILES.values()))
    assert tree(tmp_path / "to") == {**FILES, "trips": None}
    assert {"LendFiles", "WithdrawFiles", "PageQuestion", "AnswerPage"} <= crossed


def test_a_cancellation(crossed: set[str], tmp_path: Path) -> None:
    """The error that ends a transfer crosses, too."""
    source = tmp_path / "x.bin"
    source.write_bytes(bytes(5 * KiB))
    sending = nbferry.send(source)
    Watch(sending, lambda view: view.files == 1).wait()
    sending.cancel("never mind")
    with pytest.raises(errors.Cancelled, match="never mind"):
        sending.wait()
    assert "Cancel" in crossed


@pytest.mark.parametrize("kind", errors.BY_CODE.values(), ids=lambda kind: kind.__name__)
def test_errors_cross(kind: type[NbferryError]) -> None:
    """Errors cross with message, hint and fields."""
    error = kind(7, hint="Make room.") if kind is errors.DiskFull else kind("It failed.", hint="Try again.")  # type: ignore[arg-type]  # the first argument differs
    crossed = pickle.loads(pickle.dumps(error))  # noqa: S301  # the test pickled it
    assert type(crossed) is kind
    assert vars(crossed) == vars(error)
    assert str(crossed) == str(error)
