"""The face for each environment of a process."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from nbferry.jupyter import face_kind


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain Python process, regardless of how the tests run."""
    for name in ("IPython", "comm", "marimo"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def load(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> None:
    """Load a module with these contents."""
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def in_ipython(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    """Run in an IPython shell."""
    load(monkeypatch, "IPython", get_ipython=lambda: shell)


def with_comms(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    """Provide comms whose factory comes from a module of this name."""
    load(monkeypatch, "comm", create_comm=SimpleNamespace(__module__=origin))


KERNEL = SimpleNamespace(kernel=object())


def test_plain_python() -> None:
    """Python without IPython shows text, and loads no module to find that out."""
    assert face_kind.kind({}) == "text"
    assert not {"IPython", "comm", "marimo"} & sys.modules.keys()


@pytest.mark.parametrize("shell", [None, SimpleNamespace(), SimpleNamespace(kernel=None)])
def test_ipython_in_a_terminal(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    """IPython that is only imported, or has no kernel, shows text."""
    in_ipython(monkeypatch, shell)
    with_comms(monkeypatch, "ipykernel.ipkernel")
    assert face_kind.kind({}) == "text"


@pytest.mark.parametrize(
    ("origin", "kind"), [("ipykernel.ipkernel", "widget"), ("xeus", "widget"), ("comm", "text")]
)
def test_a_kernel(monkeypatch: pytest.MonkeyPatch, origin: str, kind: str) -> None:
    """A kernel shows widgets if it can send messages to a page."""
    in_ipython(monkeypatch, KERNEL)
    with_comms(monkeypatch, origin)
    assert face_kind.kind({}) == kind


def test_a_kernel_without_comms(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without comms shows text."""
    in_ipython(monkeypatch, KERNEL)
    assert face_kind.kind({}) == "text"


@pytest.mark.parametrize(("running", "kind"), [(True, "widget"), (False, "text")])
def test_marimo(monkeypatch: pytest.MonkeyPatch, running: bool, kind: str) -> None:
    """A cell of marimo shows widgets; a script that imports marimo does not."""
    load(monkeypatch, "marimo", running_in_notebook=lambda: running)
    assert face_kind.kind({}) == kind


@pytest.mark.parametrize("wanted", ["widget", "text", "none"])
def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    """The environment variable precedes all else."""
    assert face_kind.kind({"NBFERRY_UI": wanted}) == wanted
    assert face_kind.kind({"NBFERRY_UI": f" {wanted.upper()} "}) == wanted
    in_ipython(monkeypatch, KERNEL)
    with_comms(monkeypatch, "ipykernel.ipkernel")
    assert face_kind.kind({"NBFERRY_UI": wanted}) == wanted
    assert face_kind.kind({"NBFERRY_UI": ""}) == "widget"


def test_nonsense_in_the_environment() -> None:
    """An invalid value is an error that lists the valid ones."""
    with pytest.raises(ValueError, match='NBFERRY_UI must be "widget", "text" or "none", not \'bar\''):
        face_kind.kind({"NBFERRY_UI": "bar"})
