"""ipykernel's way of choosing a subshell is replaced where it has one."""

from __future__ import annotations

from types import SimpleNamespace

from nbferry.widget.unpinned import unpin


class Pinning:
    """A comm that answers in the shell from which something went out on it last."""

    def _reply_subshell_for(self, data: object, default: str | None) -> str | None:
        return None


def test_the_page_decides() -> None:
    """Where a kernel would choose the shell itself, the one that a page names counts; the main one if it names none."""
    comm = Pinning()
    unpin(comm)
    assert comm._reply_subshell_for({"content": {"id": "1"}}, "page's") == "page's"
    assert comm._reply_subshell_for({}, None) is None


def test_the_comm_only() -> None:
    """Only the comm itself is changed: others of the kernel answer as before."""
    unpin(Pinning())
    assert Pinning()._reply_subshell_for({}, "page's") is None


def test_other_kernels() -> None:
    """A comm without such a choice is left as it is."""
    comm = SimpleNamespace(comm_id="1")
    unpin(comm)
    unpin(None)
    assert vars(comm) == {"comm_id": "1"}
