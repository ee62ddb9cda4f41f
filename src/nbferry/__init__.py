"""Get data from one notebook to another.

transfer = nbferry.send("trips.parquet")       # transfer.code is what the other side needs
await nbferry.receive("482913-amber-canyon-tulip@https://…")
nbferry.resume()                               # after a crash on either side; no new code is needed
nbferry.upload(); nbferry.download("a.csv")    # from and to the machine that the browser runs on
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nbferry._version import __version__

if TYPE_CHECKING:
    from nbferry.api import discard, download, receive, resume, send, transfers, upload, verify
    from nbferry.errors import NbferryError
    from nbferry.limits import Limits
    from nbferry.status import FileProgress, Result, Snapshot, State
    from nbferry.transfer.handle import Transfer

_HOMES = {
    "FileProgress": "status",
    "Limits": "limits",
    "NbferryError": "errors",
    "Result": "status",
    "Snapshot": "status",
    "State": "status",
    "Transfer": "transfer.handle",
    "discard": "api",
    "download": "api",
    "receive": "api",
    "resume": "api",
    "send": "api",
    "transfers": "api",
    "upload": "api",
    "verify": "api",
}

__all__ = [
    "FileProgress",
    "Limits",
    "NbferryError",
    "Result",
    "Snapshot",
    "State",
    "Transfer",
    "__version__",
    "discard",
    "download",
    "receive",
    "resume",
    "send",
    "transfers",
    "upload",
    "verify",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use: ``import nbferry`` itself costs a few milliseconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nbferry' has no attribute {name!r}")
    return getattr(import_module(f"nbferry.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
