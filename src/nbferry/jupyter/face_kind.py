"""Which face transfers show: a widget in a notebook, text in a terminal or a log, or none.

``NBFERRY_UI`` decides if it names one of them. Otherwise it depends on the frontend that runs this process. No library
is loaded to find out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Literal, get_args

FaceKind = Literal["widget", "text", "none"]


def kind(environ: Mapping[str, str] = os.environ) -> FaceKind:
    """The face of transfers in this process. Raises ValueError if ``NBFERRY_UI`` names none."""
    wanted = environ.get("NBFERRY_UI", "").strip().lower()
    if not wanted:
        return "widget" if _in_marimo() or (_in_kernel() and _has_comms()) else "text"
    for known in get_args(FaceKind):
        if wanted == known:
            return known  # type: ignore[no-any-return]  # get_args loses the types
    raise ValueError(f'NBFERRY_UI must be "widget", "text" or "none", not {wanted[:40]!r}')


def _in_kernel() -> bool:
    """Whether cells come from a notebook: Jupyter's, Colab's, VS Code's. IPython in a terminal has no kernel."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def _has_comms() -> bool:
    """Whether messages reach a page: a kernel replaces the ``create_comm`` that does nothing."""
    comm = sys.modules.get("comm")
    return comm is not None and getattr(comm.create_comm, "__module__", "") != "comm"


def _in_marimo() -> bool:
    """Whether this runs in a cell of a marimo notebook."""
    marimo = sys.modules.get("marimo")
    return marimo is not None and bool(marimo.running_in_notebook())


def in_ipython() -> bool:
    """Whether a person runs this, not a program: in IPython Ctrl-C cancels what a cell awaits."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
