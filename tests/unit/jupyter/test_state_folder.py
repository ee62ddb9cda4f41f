"""State lies beside the notebook, whose folder several sources may tell."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nbferry.jupyter.state_folder import state_folder

KERNEL = "3f1c2d4e-0000-4444-8888-123456789abc"
VSCODE = "-jvsc-3f1c2d4e-0000-4444-8888-123456789abc"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make notebooks in separate folders, each named after the source that tells of it."""
    for name in ("vscode", "session", "started", "cwd", "named"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.ipynb").write_bytes(b"{}")
    return tmp_path


@contextmanager
def answering(root: Path, body: bytes, status: int = 200, **changes: Any) -> Iterator[dict[str, str]]:
    """Run a Jupyter server with this answer for its sessions. Yields the environment of its kernel."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert (
                "elsewhere" not in self.path or "Authorization" not in self.headers
            )  # the target of a redirect
            asked = self.path == "/base/api/sessions" and self.headers["Authorization"] == "token t"
            self.send_response(status if asked else 403)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name for it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/base/"
        info = {"url": url, "hostname": "127.0.0.1", "token": "t", "password": False, "root_dir": str(root)}
        (root / "jpserver-7.json").write_text(json.dumps({**info, **changes}))
        try:
            yield {"JPY_PARENT_PID": "7", "JUPYTER_RUNTIME_DIR": str(root)}
        finally:
            server.shutdown()
            thread.join()


def sessions(path: object, kernel: object = KERNEL) -> bytes:
    """The answer of a server with several notebooks."""
    other = {"path": "started/a.ipynb", "kernel": {"id": "0"}}
    return json.dumps([other, {"path": path, "kernel": {"id": kernel}}]).encode()


def folder(root: Path, environ: dict[str, str] | None = None, **namespace: Any) -> str:
    """The name of the folder with the state, for a kernel in these circumstances."""
    argv = ["ipykernel_launcher.py", "-f", f"/run/user/1000/kernel-{KERNEL}.json"]
    found = state_folder(environ or {}, namespace, root / "cwd", argv=argv)
    assert found.name == ".nbferry"
    assert not found.exists()
    return found.parent.name


# ------------------------------------------------------------------ sources
def test_in_order(root: Path) -> None:
    """The sources in order: the user, VS Code, the server, the kernel's environment, the current folder."""
    started = {"JPY_SESSION_NAME": str(root / "started/a.ipynb")}
    vscode = {"__vsc_ipynb_file__": str(root / "vscode/a.ipynb")}
    with answering(root, sessions("session/a.ipynb")) as server:
        assert folder(root, {**server, **started, "NBFERRY_STATE": str(root / "named")}, **vscode) == "named"
        assert folder(root, {**server, **started}, **vscode) == "vscode"
        assert folder(root, {**server, **started}) == "session"
    assert folder(root, started) == "started"
    assert folder(root) == "cwd"


def test_set_by_the_user(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NBFERRY_STATE may be relative, begin with ~, and name a folder that does not exist yet."""
    monkeypatch.setenv("HOME", str(root))
    for name, path in (
        ("~/named", "named"),
        ("../named", "cwd/../named"),
        ("~/new/deep", "new/deep"),
        (str(root / "x"), "x"),
    ):
        assert state_folder({"NBFERRY_STATE": name}, {}, root / "cwd") == root / path / ".nbferry"
    assert sorted(path.name for path in root.iterdir()) == ["cwd", "named", "session", "started", "vscode"]


@pytest.mark.parametrize("path", ["/no/such/a.ipynb", "", 7, None, "nul\0", ["/x"]], ids=repr)
def test_a_missing_notebook(root: Path, path: Any) -> None:
    """A notebook that does not exist is ignored, from any source."""
    assert folder(root, {}, __vsc_ipynb_file__=path) == "cwd"
    assert folder(root, {"JPY_SESSION_NAME": str(path)}) == "cwd"
    with answering(root, sessions(path)) as server:
        assert folder(root, server) == "cwd"


def test_renamed_while_it_runs(root: Path) -> None:
    """The server knows a notebook's new name, its kernel's environment only the old one."""
    (root / "session/a.ipynb").rename(root / "session/b.ipynb")
    started = {"JPY_SESSION_NAME": str(root / "session/a.ipynb")}
    assert folder(root, started) == "cwd"
    with answering(root, sessions("RTC:session/b.ipynb")) as server:
        assert folder(root, {**server, **started}) == "session"


def test_what_vs_code_adds(root: Path) -> None:
    """VS Code puts an id into the names of notebooks on a remote server."""
    for name in (f"a{VSCODE}.ipynb", f"a.ipynb{VSCODE}"):
        assert folder(root, {"JPY_SESSION_NAME": str(root / "started" / name)}) == "started"


# ------------------------------------------------------------------ servers without an answer
ANSWERS = [b"", b"{", b"[]", b"{}", b"7", b"[7, null, {}]", b"\xff", b"[" * 100_000, b" " * (4 << 20) + b"[]"]


@pytest.mark.parametrize("body", ANSWERS, ids=range(len(ANSWERS)))
def test_an_invalid_answer(root: Path, body: bytes) -> None:
    """An invalid answer leads to the next source."""
    with answering(root, body) as server:
        assert folder(root, server) == "cwd"


@pytest.mark.parametrize("status", [302, 403, 404, 500])
def test_a_server_that_refuses(root: Path, status: int) -> None:
    """A server that refuses leads to the next source."""
    with answering(root, sessions("session/a.ipynb"), status) as server:
        assert folder(root, server) == "cwd"


@pytest.mark.parametrize(
    "changes", [{"root_dir": None}, {"root_dir": ""}, {"password": True, "token": ""}, {"token": "wrong"}]
)
def test_a_useless_server(root: Path, changes: dict[str, Any]) -> None:
    """A server with no known folder, or for browsers only, leads to the next source."""
    with answering(root, sessions("session/a.ipynb"), **changes) as server:
        assert folder(root, server) == "cwd"


def test_another_kernels_session(root: Path) -> None:
    """Only the session of this kernel counts."""
    for kernel in ("0", "", None, KERNEL + "0"):
        with answering(root, sessions("session/a.ipynb", kernel)) as server:
            assert folder(root, server) == "cwd"


def test_no_kernel(root: Path) -> None:
    """A process that is no kernel asks no server."""
    with answering(root, sessions("session/a.ipynb", "")) as server:
        for argv in ([], ["pytest", "kernel-.json"], ["-f", "/x/kernel-../y.json"]):
            assert state_folder(server, {}, root / "cwd", argv=argv).parent.name == "cwd"


def test_a_stopped_server(root: Path) -> None:
    """A stopped server leads to the next source."""
    with answering(root, b"") as server:
        pass
    assert folder(root, server) == "cwd"


# ------------------------------------------------------------------ folders that cannot be written to
def test_a_read_only_folder(root: Path) -> None:
    """If the notebook's folder is read-only, state goes to a subfolder of the user's state folder."""
    where = {"argv": [], "user_state": root / "state"}
    found = state_folder({}, {}, root / "cwd", can_write=lambda _: False, **where)
    assert found == root / "state" / hashlib.sha256(os.fsencode(root / "cwd")).hexdigest()[:16]
    assert not (root / "state").exists()
    found = state_folder({}, {}, root / "named", can_write=lambda path: path != root / "named")
    assert "nbferry" in found.parts
    assert found.name == hashlib.sha256(os.fsencode(root / "named")).hexdigest()[:16]


def test_the_users_folder_is_used(root: Path) -> None:
    """The user's folder is used even if it is read-only. Writing reports that later."""
    environ = {"NBFERRY_STATE": str(root / "named")}
    assert state_folder(environ, {}, root / "cwd", can_write=lambda _: False) == root / "named/.nbferry"


@pytest.mark.usefixtures("ordinary_rights")
def test_rights(root: Path) -> None:
    """A folder's mode decides whether it can be written to."""
    (root / "cwd").chmod(0o500)
    found = state_folder({}, {}, root / "cwd", argv=[], user_state=root / "state")
    assert found.parent == root / "state"


def test_existing_state(root: Path) -> None:
    """Existing state is used even if its parent folder became read-only."""
    (root / "cwd/.nbferry").mkdir()
    (root / "cwd").chmod(0o500)
    assert state_folder({}, {}, root / "cwd", argv=[]) == root / "cwd/.nbferry"


# ------------------------------------------------------------------ this process
def test_defaults(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a notebook the current folder is used, and no module of Jupyter is loaded."""
    monkeypatch.chdir(root / "cwd")
    for name in ("NBFERRY_STATE", "JPY_SESSION_NAME", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    assert state_folder() == root / "cwd/.nbferry"
    code = "import sys; from nbferry.jupyter.state_folder import *; print(state_folder(), 'IPython' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == [str(root / "cwd/.nbferry"), "False"]


def run_in_ipython(code: str) -> str:
    """Run code in an IPython without a terminal. Returns its output."""
    start = (
        "from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance(); "
        "s.user_ns['__vsc_ipynb_file__'] = {path!r}; "
        "from nbferry.jupyter.state_folder import state_folder; print(state_folder())"
    )
    done = subprocess.run(
        [sys.executable, "-c", start.format(path=code)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_namespace_of_a_notebook(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In IPython the user's namespace is read."""
    monkeypatch.delenv("NBFERRY_STATE", raising=False)
    assert run_in_ipython(str(root / "vscode/a.ipynb")) == str(root / "vscode/.nbferry")
