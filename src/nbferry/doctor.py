"""What nbferry has to work with on this machine: the command ``nbferry doctor``."""

from __future__ import annotations

import json
import os
import platform
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbferry
from nbferry import kernel, render
from nbferry.engine.addresses import local_addresses
from nbferry.errors import CodeInvalid
from nbferry.limits import MiB
from nbferry.ticket import canonical_url

SAMPLE = 64 * MiB


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    what: str
    good: bool
    found: str


def checks(relay: str | None) -> Iterator[Check]:
    """Look at one thing after the other."""
    yield Check(
        "nbferry", True, f"{nbferry.__version__}, Python {platform.python_version()}, {platform.system()}"
    )
    yield _direct()
    yield _relay(relay)
    yield _extension()
    yield _folder()
    yield _speed()


def _direct() -> Check:
    host = os.environ.get("NBFERRY_HOST")
    try:
        with socket.create_server((host or "", 0)):
            return Check(
                "direct connections", True, f"can listen; reachable as {', '.join(local_addresses(host))}"
            )
    except OSError as error:
        return Check("direct connections", False, f"cannot listen ({error.strerror}); only a relay will do")


def _relay(named: str | None) -> Check:
    if named:
        try:
            url = canonical_url(named)
        except CodeInvalid as error:
            return Check("relay", False, error.message)
        good = kernel.has_relay(url)
        return Check("relay", good, f"{url} {'answers' if good else 'does not answer as an nbferry relay'}")
    if found := kernel.server_relay():
        return Check("relay", True, f"this kernel's Jupyter server, {found.share_url}")
    return Check(
        "relay", True, "none is set; a sender starts one of its own, for this machine and its network"
    )


def _extension() -> Check:
    from jupyter_core.paths import jupyter_config_path  # noqa: PLC0415

    for folder in jupyter_config_path():
        file = Path(folder) / "jupyter_server_config.d" / "nbferry.json"
        if file.is_file():
            return Check("Jupyter extension", *_enabled_by(file))
    return Check(
        "Jupyter extension",
        False,
        "no nbferry.json in Jupyter's configuration; is nbferry installed with pip?",
    )


def _enabled_by(file: Path) -> tuple[bool, str]:
    try:
        extensions = json.loads(file.read_text())["ServerApp"]["jpserver_extensions"]
        enabled = extensions["nbferry.server"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False, f"{file} cannot be read"
    return enabled, f"{'enabled' if enabled else 'switched off'} by {file}"


def _folder() -> Check:
    here = Path.cwd()
    space = os.statvfs(here) if hasattr(os, "statvfs") else None
    free = f", {render.size(space.f_bavail * space.f_frsize)} free" if space else ""
    return Check(
        "this folder",
        os.access(here, os.W_OK),
        f"{'writable' if os.access(here, os.W_OK) else 'read-only'}{free}",
    )


def _speed() -> Check:
    from nbferry.crypto.digest import chunk_digest  # noqa: PLC0415
    from nbferry.crypto.records import TAG, Sealer  # noqa: PLC0415

    chunk, out = bytes(MiB), memoryview(bytearray(MiB + TAG))
    sealer = Sealer(bytes(32))
    started = time.perf_counter()
    for _ in range(SAMPLE // MiB):
        chunk_digest(chunk)
        sealer.seal_into(chunk, out)
    rate = SAMPLE / (time.perf_counter() - started)
    return Check("hashing and sealing", True, f"{render.size(rate)}/s on one core")
