"""What this process runs in: a kernel of which Jupyter server, reachable for others under which address."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from nbferry.engine.connect import RelayAddress

PROBE_SECONDS = 3.0


def server_relay(environ: Mapping[str, str] = os.environ) -> RelayAddress | None:
    """The relay in the Jupyter server that started this kernel; None if there is none, or no server.

    The server is found by the process id that a kernel is given of its parent, in the file that each server leaves in
    the runtime folder. Its token opens rooms and goes to no other address; on a hub the server's own token does.
    """
    server = _server_of(environ.get("JPY_PARENT_PID", ""), environ)
    if server is None:
        return None
    url = str(server["url"]).replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:")
    token = server.get("token") or environ.get("JUPYTERHUB_API_TOKEN", "")
    relay = RelayAddress(
        _with_slash(url), _public_url(environ), {"Authorization": f"token {token}"} if token else {}
    )
    return relay if has_relay(relay.url) else None


def _server_of(pid: str, environ: Mapping[str, str]) -> dict[str, Any] | None:
    if not pid.isdecimal():
        return None
    try:
        return dict(json.loads((_runtime_dir(environ) / f"jpserver-{pid}.json").read_text()))
    except (OSError, ValueError):
        return None


def _runtime_dir(environ: Mapping[str, str]) -> Path:
    if named := environ.get("JUPYTER_RUNTIME_DIR"):
        return Path(named)
    from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415  # costs 30 ms, needed in kernels only

    return Path(jupyter_runtime_dir())


def _public_url(environ: Mapping[str, str]) -> str:
    """The address of this server behind its hub, if the hub tells."""
    public, prefix = environ.get("JUPYTERHUB_PUBLIC_URL"), environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if public and prefix:
        return _with_slash(urljoin(public, prefix))
    return ""


def _with_slash(url: str) -> str:
    return url if url.endswith("/") else url + "/"


def has_relay(url: str) -> bool:
    """Whether an nbferry relay answers there."""
    try:
        with urllib.request.urlopen(url + "nbferry/version", timeout=PROBE_SECONDS) as answer:  # noqa: S310  # a server's own url
            return "relay" in json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        return False
