"""The Jupyter server that started a kernel is found, trusted in part, and never waited for long."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nbferry.connections.addresses import local_addresses
from nbferry.jupyter import server as server_module
from nbferry.jupyter.server import has_pages, has_relay, heard_from_page, outside, server_relay
from nbferry.widget.line import server_with_pages

VERSION = b'{"nbferry": "0.1.0", "relay": 1}'


@contextmanager
def answering(body: bytes, path: str = "/base/nbferry/version", status: int = 200) -> Iterator[int]:
    """A server with these answers below one path. Yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == path
            self.send_response(status if found else 404)
            self.send_header("Content-Length", str(len(body) if found else 0))
            self.end_headers()
            self.wfile.write(body if found else b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name for it
            assert "Authorization" not in self.headers  # the token is sent only to create a room

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def found(folder: Path, fields: Any, **environ: str) -> Any:
    """The relay found for a server with process id 7 and this runtime file."""
    text = fields if isinstance(fields, str) else json.dumps(fields)
    (folder / "jpserver-7.json").write_text(text)
    return server_relay({"JPY_PARENT_PID": "7", "JUPYTER_RUNTIME_DIR": str(folder), **environ})


def info(port: int, **changes: Any) -> dict[str, Any]:
    """The runtime file of a server."""
    url = f"http://127.0.0.1:{port}/base/"
    return {"url": url, "hostname": "127.0.0.1", "token": "t", "password": False, **changes}


def test_the_server_of_a_kernel(tmp_path: Path) -> None:
    """The server's own address is dialled and shared, and its token creates rooms there."""
    with answering(VERSION) as port:
        relay = found(tmp_path, info(port))
    assert relay.url == relay.share_url == f"http://127.0.0.1:{port}/base/"
    assert relay.headers == {"Authorization": "token t"}
    assert "token t" not in repr(relay)


def test_a_server_that_listens_everywhere(tmp_path: Path) -> None:
    """For a server on all addresses, the loopback one is dialled and a reachable one is shared."""
    with answering(VERSION) as port:
        relay = found(tmp_path, info(port, hostname="0.0.0.0", url=f"http://no-such-name:{port}/base"))
    assert relay.url == f"http://127.0.0.1:{port}/base/"
    outward = [address for address in local_addresses() if ":" not in address][-1]
    assert relay.share_url == f"http://{outward}:{port}/base/"


def test_a_server_behind_a_hub(tmp_path: Path) -> None:
    """On a hub the public address is shared, and the server's own token creates rooms."""
    hub = {
        "JUPYTERHUB_PUBLIC_URL": "https://hub.example/",
        "JUPYTERHUB_SERVICE_PREFIX": "/user/anna",
        "JUPYTERHUB_API_TOKEN": "h",
    }
    with answering(VERSION) as port:
        relay = found(tmp_path, info(port, token=""), **hub)
    assert relay.share_url == "https://hub.example/user/anna/"
    assert relay.headers == {"Authorization": "token h"}


def test_a_server_with_no_login_at_all(tmp_path: Path) -> None:
    """A server without token and password needs no token."""
    with answering(VERSION) as port:
        assert found(tmp_path, info(port, token="")).headers == {}


def test_a_server_with_a_password(tmp_path: Path) -> None:
    """A server with a password admits only browsers, so it is not used."""
    with answering(VERSION) as port:
        assert found(tmp_path, info(port, token="", password=True)) is None


@pytest.mark.parametrize(
    "fields", ["", "{", "[]", "null", "7", {}, {"url": None}, {"url": 7}, {"url": "nonsense"}]
)
def test_an_invalid_runtime_file(tmp_path: Path, fields: Any) -> None:
    """An invalid runtime file, or one without an address, gives no server."""
    assert found(tmp_path, fields) is None


@pytest.mark.parametrize("pid", ["", "8", "-7", "7/../7", "x"])
def test_no_server(tmp_path: Path, pid: str) -> None:
    """Without the process id of a known server none is found."""
    (tmp_path / "jpserver-7.json").write_text(json.dumps(info(1)))
    assert server_relay({"JPY_PARENT_PID": pid, "JUPYTER_RUNTIME_DIR": str(tmp_path)}) is None
    assert server_relay({"JUPYTER_RUNTIME_DIR": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (VERSION, True),
        (b'{"relay": "1"}', False),
        (b'{"relay": true}', False),
        (b'"relay"', False),
        (b'["relay"]', False),
        (b"7", False),
        (b"relay", False),
        (b"\xff", False),
        (b"", False),
        (b"[" * 9_999, False),
        (b" " * 10_001 + VERSION, False),
    ],
)
def test_a_relay_is_recognised(body: bytes, is_one: bool) -> None:
    """Only an answer with the version of the relay's protocol counts as a relay."""
    with answering(body) as port:
        assert has_relay(f"http://127.0.0.1:{port}/base/") is is_one


def test_other_servers_are_no_relay() -> None:
    """An error, another protocol or no answer is no relay, and raises nothing."""
    with answering(VERSION, status=500) as port:
        assert not has_relay(f"http://127.0.0.1:{port}/base/")
        assert not has_relay(f"http://127.0.0.1:{port}/other/")
        assert not has_relay(f"https://127.0.0.1:{port}/base/")
    assert not has_relay("http://127.0.0.1:1/")


def test_no_proxy_leads_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not used for addresses of this machine."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    monkeypatch.delenv("no_proxy", raising=False)
    with answering(VERSION) as port:
        assert has_relay(f"http://127.0.0.1:{port}/base/")


# ------------------------------------------------------------------ pages
@pytest.mark.parametrize(
    ("body", "is_one"),
    [(b'{"relay": 1, "pages": 1}', True), (VERSION, False), (b'{"pages": true}', False), (b"", False)],
)
def test_lines_are_recognised(body: bytes, is_one: bool) -> None:
    """An older extension has a relay, but no lines."""
    with answering(body) as port:
        assert has_pages(f"http://127.0.0.1:{port}/base/") is is_one


def test_a_server_with_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of this kernel is used if its extension has lines."""
    monkeypatch.setenv("JPY_PARENT_PID", "7")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    assert server_with_pages() is None
    for body, there in ((b'{"pages": 1}', True), (VERSION, False)):
        with answering(body) as port:
            (tmp_path / "jpserver-7.json").write_text(json.dumps(info(port, root_dir="/here")))
            server = server_with_pages()
        assert (server is not None) is there
        assert server is None or server.root == "/here"


CODE = "482913-amber-canyon-tulip"
THERE = "https://hub.example/user/anna/"


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A kernel of a server at port 8888 that no page has reported on."""
    monkeypatch.setattr(server_module, "_page_url", "")
    (tmp_path / "jpserver-7.json").write_text(json.dumps(info(8888)))
    return {"JPY_PARENT_PID": "7", "JUPYTER_RUNTIME_DIR": str(tmp_path)}


def test_the_address_that_a_page_knows_is_in_a_code(environ: dict[str, str]) -> None:
    """A code has the page's address only after a report, and always the newest one."""
    code = f"{CODE}@http://127.0.0.1:8888/base/"
    assert outside(code, environ) == code
    heard_from_page("https://wrong.example/")
    heard_from_page("HTTPS://hub.example/user/anna")
    assert outside(code, environ) == f"{CODE}@{THERE}"


def test_a_server_that_listens_everywhere_has_two_addresses(environ: dict[str, str], tmp_path: Path) -> None:
    """Both addresses of a server on all interfaces stand for the server that a page reaches in its own way."""
    (tmp_path / "jpserver-7.json").write_text(json.dumps(info(8888, hostname="")))
    server = server_module.own_server(environ)
    assert server
    heard_from_page(THERE)
    for url in (server.url, server.shared_url):
        assert outside(f"{CODE}@{url}", environ) == f"{CODE}@{THERE}"


@pytest.mark.parametrize("url", ["@https://relay.example/", "@http://127.0.0.1:8888/other/", ""])
def test_a_code_of_another_relay_is_unchanged(environ: dict[str, str], url: str) -> None:
    """A code for a chosen relay, one in this process, or none is unchanged."""
    heard_from_page(THERE)
    assert outside(CODE + url, environ) == CODE + url


def test_codes_without_a_server(environ: dict[str, str]) -> None:
    """Without a server a page's report has no effect."""
    heard_from_page(THERE)
    code = f"{CODE}@http://127.0.0.1:8888/base/"
    assert outside(code, {**environ, "JPY_PARENT_PID": ""}) == code


def test_a_pages_report_is_not_stored(tmp_path: Path, environ: dict[str, str]) -> None:
    """Records hold the server's own addresses, so a later code can be corrected."""
    heard_from_page(THERE)
    with answering(VERSION) as port:
        relay = found(tmp_path, info(port), **environ)
    assert relay.share_url == relay.url


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8888/",
        "http://lab.localhost/",
        "http://127.0.0.1/",
        "http://127.1.2.3/",
        "http://0.0.0.0/",
        "http://[::1]:8888/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::]/",
        "file:///etc/passwd",
        "https://anna:secret@hub.example/",
        "https://hub.example/?token=secret",
        "https://hub.example:99999/",
        "https://hub.example/" + "a" * 500,
        "https://[1.2.3/",
        "",
    ],
)
def test_a_useless_address_is_ignored(environ: dict[str, str], url: str) -> None:
    """An address on the page's own machine, as of a tunnel, or an invalid one does not replace the last good one."""
    heard_from_page(THERE)
    heard_from_page(url)
    assert outside(f"{CODE}@http://127.0.0.1:8888/base/", environ) == f"{CODE}@{THERE}"
