"""What a page says goes to the subshell that the page names.

JupyterLab names one for its widgets, so that a click acts while a cell runs. ipykernel 7.4 does not look at that: what
comes in on a comm goes to the shell from which something went out on it last. For a widget that a cell has made this is
the main shell, and it is busy; after a reload it may be a subshell that is gone, so that every click is lost. Older
ones, and other kernels, have nothing of the kind.
"""

from __future__ import annotations

from typing import Any

_ROUTE = "_reply_subshell_for"  # of ipykernel's own: from what came in, and the subshell that it names, to a subshell


def unpin(comm: Any) -> None:
    """Let each message of a page on this comm go where the page wants it."""
    if hasattr(comm, _ROUTE):
        setattr(comm, _ROUTE, _as_named)


def _as_named(_data: object, named: str | None, *_more: object) -> str | None:
    return named
