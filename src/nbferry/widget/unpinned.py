"""Routes a page's messages to the subshell that the page names.

JupyterLab names a subshell for its widgets, so that a click acts while a cell runs. ipykernel 7.4 ignores that: it
routes a comm's messages to the shell that last sent on the comm. For a widget made by a cell that is the main shell,
which is busy. After a reload it may be a subshell that is gone, and every click is lost. Older versions and other
kernels do not route at all.
"""

from __future__ import annotations

from typing import Any

# A private method of ipykernel: from a message, and the subshell that it names, to a subshell.
_ROUTE = "_reply_subshell_for"


def unpin(comm: Any) -> None:
    """Route each message of a page on this comm to the subshell that it names."""
    if hasattr(comm, _ROUTE):
        setattr(comm, _ROUTE, _as_named)


def _as_named(_data: object, named: str | None, *_more: object) -> str | None:
    return named
