"""A separate JupyterLab and the kernels of its notebooks."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.blocking.client import BlockingKernelClient

import nbferry.jupyter
from cells import TOKEN, Kernel
from running import PATIENCE, environment

SETTINGS: dict[str, dict[str, object]] = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/apputils-extension/themes": {"theme": "JupyterLab Light"},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}
"""A person's settings: no questions, and no files but those of the test."""


class Lab:
    """JupyterLab, or another program on a Jupyter server, in separate folders."""

    def __init__(self, root: Path, port: int, process: subprocess.Popen[str]) -> None:
        self.root = root / "notebooks"
        self.port = port
        self.url = f"http://127.0.0.1:{port}/"
        self._place = root
        self._process = process
        self.said: list[str] = []  # lines of the server's log
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._clients: list[Kernel] = []

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stderr
        self.said.extend(self._process.stderr)

    # ---------------------------------------------------------------- requests
    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The server's answer to a request of its user."""
        headers = {"Authorization": f"token {TOKEN}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310  # ours
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    # ---------------------------------------------------------------- notebooks and their kernels
    def notebook(self, path: str, *cells: str) -> Path:
        """Write a notebook of code cells below the root."""
        content = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell, id=f"cell-{number}") for number, cell in enumerate(cells)],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(content, file)
        return file

    def kernel_id(self, path: str) -> str:
        """The id of the kernel of an open notebook."""
        (session,) = (session for session in self.ask("GET", "api/sessions") if session["path"] == path)
        return str(session["kernel"]["id"])

    def kernel(self, path: str) -> Kernel:
        """The kernel of an open notebook, for code that a test runs without the page."""
        client = BlockingKernelClient(
            connection_file=str(self._place / f"runtime/kernel-{self.kernel_id(path)}.json")
        )
        client.load_connection_file()
        self._clients.append(Kernel(client, (self.root / path).parent))
        return self._clients[-1]

    def interrupt(self, path: str) -> None:
        """Interrupt the kernel, as the stop button does."""
        self.ask("POST", f"api/kernels/{self.kernel_id(path)}/interrupt")

    def restart(self, path: str) -> None:
        """Restart the kernel, as the restart button does."""
        self.ask("POST", f"api/kernels/{self.kernel_id(path)}/restart")

    def end_kernels(self) -> None:
        """End all kernels and close the connections to them."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        enders = [
            threading.Thread(target=self.ask, args=("DELETE", f"api/sessions/{session['id']}"))
            for session in self.ask("GET", "api/sessions")
        ]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join(PATIENCE)

    # ---------------------------------------------------------------- settings
    def set(self, plugin: str, **values: object) -> None:
        """Change a setting for pages that load later."""
        file = self._place / f"settings/{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**SETTINGS.get(plugin, {}), **values}))

    def close(self) -> None:
        """End the server and its kernels."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self._process.stderr
        self._process.stderr.close()


@contextmanager
def jupyter(root: Path, program: str = "jupyterlab") -> Iterator[Lab]:
    """A program on a Jupyter server, with the extension enabled as ``pip install`` does it."""
    enabled = root / "etc/jupyter_server_config.d/nbferry.json"
    enabled.parent.mkdir(parents=True)
    shutil.copy(Path(nbferry.jupyter.__file__).with_name("nbferry.json"), enabled)
    (root / "notebooks").mkdir()
    (root / "runtime").mkdir()
    env = environment(
        HOME=str(root / "home"),
        IPYTHONDIR=str(root / "ipython"),
        JUPYTER_CONFIG_DIR=str(root / "config"),
        JUPYTER_CONFIG_PATH=str(root / "etc"),
        JUPYTER_DATA_DIR=str(root / "data"),
        JUPYTER_RUNTIME_DIR=str(root / "runtime"),
        JUPYTERLAB_SETTINGS_DIR=str(root / "settings"),
        JUPYTERLAB_WORKSPACES_DIR=str(root / "workspaces"),
        PYTHONWARNINGS=None,
    )
    options = [
        f"--IdentityProvider.token={TOKEN}",
        "--no-browser",
        "--ip=127.0.0.1",
        "--port=0",
        "--allow-root",
        f"--ServerApp.root_dir={root / 'notebooks'}",
        "--ServerApp.allow_remote_access=True",  # a page may use another host name
        "--LabApp.expose_app_in_browser=True",
        "--JupyterNotebookApp.expose_app_in_browser=True",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", program, *options],
        env=env,
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lab = Lab(root, port_of(process), process)
    try:
        for plugin in SETTINGS:
            lab.set(plugin)
        yield lab
        lab.end_kernels()
    finally:
        lab.close()
        shutil.rmtree(root, ignore_errors=True)


def port_of(process: subprocess.Popen[str]) -> int:
    """Read a server's log up to its address."""
    assert process.stderr
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
    raise AssertionError(said)


def process_of(kernel: Kernel) -> int:
    """The process id of a kernel."""
    return int(kernel.run("import os; print(os.getpid())"))


def kill(pid: int) -> None:
    """Kill a process."""
    os.kill(pid, signal.SIGKILL)
