"""The Jupyter server that started this kernel: its relay, and the address at which others reach it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from nbferry.connections.addresses import local_addresses
from nbferry.connections.relay_address import RelayAddress
from nbferry.errors import CodeInvalid
from nbferry.model.codes import canonical_url, parse
from nbferry.storage.records.record import RelayNote

PROBE_SECONDS = 3.0
# Bytes of a relay's version, or of another server's answer in its place.
MAX_ANSWER = 10_000
# From the page that connected last.
_page_url = ""
_ANYWHERE = ("", "*", "0.0.0.0", "::")  # noqa: S104  # compared with, not bound to


def server_relay(environ: Mapping[str, str] = os.environ) -> RelayAddress | None:
    """The relay in the Jupyter server that started this kernel; None without a relay or a server.

    A kernel knows the process id of its server, and each server leaves a file with its address in the runtime folder.
    The server's token opens rooms and is sent to no other address; on a hub JUPYTERHUB_API_TOKEN takes its place.
    """
    server = own_server(environ)
    if server is None:
        return None
    relay = RelayAddress(server.url, _public_url(environ) or server.shared_url, server.headers)
    return relay if has_relay(relay.url) else None


def heard_from_page(url: str) -> None:
    """Note the address, with base path, at which a page reaches the Jupyter server: through a hub or a tunnel.

    An address on the page's own machine is ignored: others cannot reach it. The address goes into codes when they are
    shown. It is not stored: the next page may know a better one.
    """
    global _page_url  # noqa: PLW0603  # one server for each kernel
    # An address that cannot be part of a code is ignored.
    with suppress(CodeInvalid):
        named = canonical_url(url)
        if not _is_here(urlsplit(named).hostname or ""):
            _page_url = named


def _is_here(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def outside(code: str, environ: Mapping[str, str] = os.environ) -> str:
    """Put the address that a page reported into a code that leads to this kernel's Jupyter server.

    A hub's public address is better, so a code that has one stays as it is.
    """
    server = own_server(environ) if _page_url else None
    if server is None or parse(code).url not in (server.url, server.shared_url):
        return code
    return str(parse(code).with_url(_page_url))


def find_relay(known: RelayNote | None) -> RelayAddress | None:
    """The relay of a record, or that of this kernel's Jupyter server; None: one in this process. May take seconds."""
    if known is None:
        return server_relay()
    return None if known.port else relay_again(known.url, known.public_url)


def relay_again(url: str, public_url: str, environ: Mapping[str, str] = os.environ) -> RelayAddress:
    """A relay that was used before, with the token if it is the relay of one of this user's Jupyter servers."""
    # A server that was killed leaves its file behind, so the one that started this kernel comes first.
    known = chain([own_server(environ)], map(_admitted, _servers(environ), repeat(environ)))
    for server in filter(None, known):
        if server.url == url:
            return RelayAddress(url, public_url, server.headers)
    return RelayAddress(url, public_url)


def _servers(environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The files that this user's Jupyter servers left in the runtime folder."""
    pids = (path.stem.removeprefix("jpserver-") for path in _runtime_dir(environ).glob("jpserver-*.json"))
    return filter(None, map(_server_of, pids, repeat(environ)))


@dataclass(frozen=True)
class Server:
    """A Jupyter server: our address of it, the one for others ("" if it is the same), and the headers that let us in.

    ``root`` is the folder that it shows, "" if unknown.
    """

    url: str
    shared_url: str
    headers: dict[str, str] = field(repr=False)
    root: str


def own_server(environ: Mapping[str, str] = os.environ) -> Server | None:
    """The Jupyter server that started this kernel; None without one, or if only a browser can log in there."""
    server = _server_of(environ.get("JPY_PARENT_PID", ""), environ)
    return _admitted(server, environ) if server else None


def _admitted(server: Mapping[str, Any], environ: Mapping[str, str]) -> Server | None:
    """A server with our credentials; None if only a browser can log in there."""
    token = server.get("token") or environ.get("JUPYTERHUB_API_TOKEN", "")
    if server.get("password") and not token:
        return None
    root = server.get("root_dir")
    headers = {"Authorization": f"token {token}"} if token else {}
    return Server(*_addresses(server), headers, root if isinstance(root, str) else "")


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
    """Our address of a server, and the one for others ("" if it is the same)."""
    # A server that listens everywhere names a host that may lead nowhere.
    url = _with_slash(server["url"])
    if server.get("hostname", "?") not in _ANYWHERE:
        return url, ""
    parts = urlsplit(url)
    outward = [address for address in local_addresses() if ":" not in address][-1]
    port = f":{parts.port}" if parts.port else ""
    local, shared = (parts._replace(netloc=f"{host}{port}").geturl() for host in ("127.0.0.1", outward))
    return local, shared


def _public_url(environ: Mapping[str, str]) -> str:
    """The public address of this server behind its hub, if the hub tells it."""
    public, prefix = environ.get("JUPYTERHUB_PUBLIC_URL"), environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if public and prefix:
        return _with_slash(urljoin(public, prefix))
    return ""


def _with_slash(url: str) -> str:
    return url if url.endswith("/") else url + "/"


def has_relay(url: str) -> bool:
    """Whether an nbferry relay answers there."""
    return _offers(url, "relay")


def has_pages(url: str) -> bool:
    """Whether a Jupyter server answers there whose nbferry extension joins pages and kernels."""
    return _offers(url, "pages")


def _offers(url: str, what: str) -> bool:
    fields = get_json(url + "nbferry/version", timeout=PROBE_SECONDS, limit=MAX_ANSWER)
    return isinstance(fields, dict) and type(fields.get(what)) is int


def get_json(url: str, *, timeout: float, limit: int, headers: Mapping[str, str] | None = None) -> Any:
    """Ask a server for JSON of at most ``limit`` bytes; None if it gives no answer, or another one.

    At most ``timeout`` seconds may pass between two parts of the answer. ``headers`` are not sent along a redirect.
    """
    from http.client import HTTPException  # noqa: PLC0415  # these two cost 30 ms
    from urllib.request import ProxyHandler, Request, build_opener  # noqa: PLC0415  # as above

    # No proxy leads to our own machine.
    here = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    opener = build_opener(ProxyHandler({})) if here else build_opener()
    try:
        request = Request(url)  # noqa: S310  # the address comes from the server's own file
        for name, value in (headers or {}).items():
            request.add_unredirected_header(name, value)
        with opener.open(request, timeout=timeout) as answer:
            return json.loads(answer.read(limit))
    except (OSError, ValueError, HTTPException, RecursionError):
        return None
