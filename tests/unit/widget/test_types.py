"""The page's half describes the same view as the kernel's: js/src/types.ts says by hand what Python puts into it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast, get_args

import pytest

from nbferry.engine.portal import Portal
from nbferry.model.paths import Via
from nbferry.model.roles import Role
from nbferry.status import FileProgress, Snapshot, State
from nbferry.transfer.handle import Transfer
from nbferry.widget import view
from nbferry.widget.card_model import CardModel

SOURCES = Path(__file__).parents[3] / "js/src"

T = TypeVar("T")


class Played:
    """A transfer that has only just accepted."""

    snapshot = Snapshot(
        id="0123456789ab", role=Role.SEND, state=State.WAITING, names=("a",), files=1, total=5
    )
    page_files = outcome = None
    has_code = is_over = is_held = is_parked = accepted = waits_for_decision = False

    def files_from(self, *_: int) -> tuple[FileProgress, ...]:
        """One file."""
        return (FileProgress("a", 5, 3, 2),)


class SameThread:
    """A portal without a loop."""

    def ask(self, function: Callable[[], T]) -> T:
        """Call the function at once."""
        return function()


def source(name: str) -> str:
    """Read one file of the page's half."""
    return (SOURCES / name).read_text("utf-8")


def fields(interface: str) -> set[str]:
    """Find the fields of an interface in types.ts."""
    found = re.search(
        rf"^export interface {interface} \{{\n(.*?)^\}}", source("types.ts"), re.DOTALL | re.MULTILINE
    )
    assert found, interface
    return set(re.findall(r"^  (\w+)\??:", found[1], re.MULTILINE))


def members(union: str) -> set[str]:
    """Find the strings of a union in types.ts, and of the unions that it names."""
    found = re.search(rf"^export type {union} =(.*?);", source("types.ts"), re.DOTALL | re.MULTILINE)
    assert found, union
    named = re.findall(r"\b[A-Z]\w+", found[1])
    return set(re.findall(r'"([a-z]+)"', found[1])).union(*map(members, named))


def test_fields_of_a_transfer() -> None:
    """Every field that Python puts into a transfer's view has a type, and no other has."""
    assert fields("TransferView") == set(view.of_transfer(cast("Transfer", Played())))


def test_fields_of_a_card() -> None:
    """Every field of the synced view has a type, and no other has."""
    model = CardModel(Role.SEND, cast("Portal", SameThread()))
    assert fields("View") == set(model.view())


def test_a_row() -> None:
    """A file's row has as many values as its type has names."""
    row = re.search(r"^export type Row = \[(.*?)\];", source("types.ts"), re.MULTILINE)
    assert row
    assert len(row[1].split(",")) == len(view.row(FileProgress("a", 5, 3, 2)))


KINDS = {name for part in get_args(view.CardKind) for name in (part if part is Role else get_args(part))}


@pytest.mark.parametrize(
    ("union", "names"),
    [("State", set(State)), ("Role", set(Role)), ("Via", set(Via) - {Via.AUTO}), ("Kind", KINDS)],
)
def test_names(union: str, names: set[str]) -> None:
    """States, roles, paths and kinds of cards are the same; ``auto`` is a preference, which no view has."""
    assert members(union) == names


@pytest.mark.parametrize(
    ("record", "union"),
    [("states", "State"), ("stories", "Role"), ("paths", "Via"), ("kinds", "Kind")],
)
def test_texts(record: str, union: str) -> None:
    """The compiler asks for a text for each of them, as the record of texts has the union's type."""
    assert re.search(
        rf"^  {record}: \{{[^}}]*\}} as Record<{union}, \w+>", source("ui/strings.ts"), re.MULTILINE
    )


def test_labels_of_paths() -> None:
    """A card says of each path what its row in Python says."""
    paths = re.search(r"^  paths: \{([^}]*)\}", source("ui/strings.ts"), re.MULTILINE)
    assert paths
    assert dict(re.findall(r'(\w+): "([^"]*)"', paths[1])) == {
        str(via): via.label for via in Via if via is not Via.AUTO
    }


def test_final_states() -> None:
    """The page and the kernel agree on which states are final."""
    final = re.search(
        r"^const FINAL: ReadonlySet<State> = new Set\(\[(.*?)\]\);", source("view.ts"), re.MULTILINE
    )
    assert final
    assert set(re.findall(r'"([a-z]+)"', final[1])) == {state for state in State if state.final}
