"""What this process runs in: a kernel of which Jupyter server, reachable for others under which address."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from nbferry.engine.addresses import local_addresses
from nbferry.engine.connect import RelayAddress

PROBE_SECONDS = 3.0
MAX_ANSWER = 10_000  # bytes of a relay's version, or of what somebody else answers in its place
_ANYWHERE = ("", "*", "0.0.0.0", "::")  # noqa: S104  # compared with, not bound to


def server_relay(environ: Mapping[str, str] = os.environ) -> RelayAddress | None:
    """The relay in the Jupyter server that started this kernel; None if there is none, or no server.

    The server is found by the process id that a kernel is given of its parent, in the file that each server leaves in
    the runtime folder. Its token opens rooms and goes to no other address; on a hub the server's own token does.
    """
    server = _server_of(environ.get("JPY_PARENT_PID", ""), environ)
    if server is None:
        return None
    token = server.get("token") or environ.get("JUPYTERHUB_API_TOKEN", "")
    if server.get("password") and not token:
        return None  # only a browser can log in there
    url, shared = _addresses(server)
    headers = {"Authorization": f"token {token}"} if token else {}
    relay = RelayAddress(url, _public_url(environ) or shared, headers)
    return relay if has_relay(relay.url) else None


def _server_of(pid: str, environ: Mapping[str, str]) -> dict[str, Any] | None:
    if not pid.isdecimal():
        return None
    try:
        server = json.loads((_runtime_dir(environ) / f"jpserver-{pid}.json").read_text())
    except (OSError, ValueError):
        return None
    return server if isinstance(server, dict) and isinstance(server.get("url"), str) else None


def _runtime_dir(environ: Mapping[str, str]) -> Path:
    if named := environ.get("JUPYTER_RUNTIME_DIR"):
        return Path(named)
    from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415  # costs 30 ms, needed in kernels only

    return Path(jupyter_runtime_dir())


def _addresses(server: Mapping[str, Any]) -> tuple[str, str]:
    """Where we reach a server, and where others may: one that listens everywhere tells a name that may lead nowhere."""
    url = _with_slash(server["url"])
    if server.get("hostname", "?") not in _ANYWHERE:
        return url, ""
    parts = urlsplit(url)
    outward = [address for address in local_addresses() if ":" not in address][-1]
    port = f":{parts.port}" if parts.port else ""
    local, shared = (parts._replace(netloc=f"{host}{port}").geturl() for host in ("127.0.0.1", outward))
    return local, shared


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
    from http.client import HTTPException  # noqa: PLC0415  # these two cost 30 ms
    from urllib.request import ProxyHandler, build_opener  # noqa: PLC0415

    here = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")  # no proxy leads to our own machine
    opener = build_opener(ProxyHandler({})) if here else build_opener()
    try:
        with opener.open(url + "nbferry/version", timeout=PROBE_SECONDS) as answer:
            fields = json.loads(answer.read(MAX_ANSWER))
    except (OSError, ValueError, HTTPException, RecursionError):
        return False
    return isinstance(fields, dict) and type(fields.get("relay")) is int
