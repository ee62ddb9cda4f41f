"""A public name stands for one thing in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import nbferry

PACKAGE = Path(nbferry.__file__).parent
EXCEPTIONS = {
    "Address": "the same host and port in two modules that do not import each other",
    "Buffer": "bytes in memory, which cryptography writes to and the widget only reads",
    "PageEnd": "a port of the sans-I/O lines, and the socket that implements it",
    "Phase": "the usual word of both a transfer and a congestion controller",
}


def names_in(module: Path) -> Iterator[str]:
    """The public classes and capitalised type aliases that a module defines."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if name[0].isupper() and not name.isupper():
                    yield name


def test_a_name_is_defined_in_one_module() -> None:
    """No class or type alias of one module has the name of another module's."""
    modules: dict[str, list[str]] = defaultdict(list)
    for module in PACKAGE.rglob("*.py"):
        for name in set(names_in(module)):
            modules[name].append(module.relative_to(PACKAGE).as_posix())
    shared = {name: found for name, found in modules.items() if len(found) > 1 and not name.startswith("_")}
    assert shared.keys() == EXCEPTIONS.keys(), shared
