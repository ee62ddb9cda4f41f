"""Kernels whose cells a test runs, and the Jupyter server that some of them belong to."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from running import PATIENCE, environment

TOKEN = "4f1c" * 8  # of a server that lives for one test


class CellError(Exception):
    """A cell failed: its error's name, its text, and what it had printed on stderr."""


class Kernel:
    """A kernel, through its own protocol."""

    def __init__(
        self, client: BlockingKernelClient, folder: Path, manager: KernelManager | None = None
    ) -> None:
        self.folder = folder
        self.manager = manager
        self._client = client
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)

    def start(self, code: str) -> str:
        """Run a cell, and do not wait for it; its name."""
        return str(self._client.execute(code))

    def messages(self, cell: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What a cell causes, until it has ended: type and content."""
        while True:
            message = self._client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != cell:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return
            yield kind, content

    def finish(self, cell: str) -> tuple[str, dict[str, str]]:
        """Wait for a cell: what it printed, and what it shows as its value; raises what it raised."""
        printed = {"stdout": "", "stderr": ""}
        shown: dict[str, str] = {}
        failure = None
        for kind, content in self.messages(cell):
            if kind == "stream":
                printed[content["name"]] += content["text"]
            elif kind == "execute_result":
                shown = content["data"]
            elif kind == "error":
                failure = CellError(content["ename"], content["evalue"], printed["stderr"])
        if failure:
            failure.args = (*failure.args[:2], printed["stderr"])
            raise failure
        return printed["stdout"], shown

    def run(self, code: str) -> str:
        """Run a cell to its end; what it printed."""
        return self.finish(self.start(code))[0].strip()

    def show(self, code: str) -> dict[str, str]:
        """Run a cell to its end; what it shows as its value."""
        return self.finish(self.start(code))[1]

    def wait_for(self, cell: str, text: str) -> None:
        """Return when a cell has printed this."""
        printed = ""
        for kind, content in self.messages(cell):
            if kind == "stream":
                printed += content["text"]
                if text in printed:
                    return
        raise AssertionError(f"{text!r} is not in {printed!r}")

    def interrupt(self) -> None:
        """What the button with the square does."""
        assert self.manager
        self.manager.interrupt_kernel()

    def kill_and_restart(self) -> None:
        """End it as ``kill -9`` does, and start it again in the same folder, as the button with the arrow does."""
        assert self.manager
        self.manager.restart_kernel(now=True)
        self._client.wait_for_ready(timeout=PATIENCE)

    def ask_to_exit(self) -> int:
        """Have the kernel exit by itself; its exit code."""
        assert self.manager
        self._client.shutdown()
        process = self.manager.provisioner.process  # type: ignore[union-attr]  # it is a local one
        code: int = process.wait(PATIENCE)
        return code

    def close(self) -> None:
        """End it, if it is ours, and the connection."""
        self._client.stop_channels()
        if self.manager:
            self.manager.shutdown_kernel(now=True)
            self.manager.cleanup_resources()


def start_kernel(folder: Path, **changes: str | None) -> Kernel:
    """A kernel in a folder, made for it, with these changes to its environment."""
    folder.mkdir(parents=True)
    manager = KernelManager()
    env = environment(JUPYTER_RUNTIME_DIR=str(folder.parent / "runtime"), PYTHONWARNINGS=None, **changes)
    manager.start_kernel(cwd=str(folder), env=env)
    return Kernel(manager.blocking_client(), folder, manager)


class Server:
    """A Jupyter server with the extension."""

    def __init__(self, root: Path, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.process = process
        self._root = root
        self._kernels: list[Kernel] = []

    def kernel(self, folder: str) -> Kernel:
        """Start a kernel in a folder."""
        (self._root / folder).mkdir(exist_ok=True)
        name = self.ask("POST", "api/kernels", {"path": f"{folder}/notebook.ipynb"})["id"]
        client = BlockingKernelClient(connection_file=str(self._root / f"runtime/kernel-{name}.json"))
        client.load_connection_file()
        self._kernels.append(Kernel(client, self._root / folder))
        return self._kernels[-1]

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """What it answers to a request of its user."""
        headers = {"Authorization": f"token {TOKEN}"}
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310  # ours
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            return json.load(answer)

    def wait_until_it_answers(self) -> None:
        """It names its address before it listens there, and says nothing later."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.ask("GET", "api/status")
            except urllib.error.URLError:
                assert time.monotonic() < until
            else:
                return

    def close(self) -> None:
        """Close the connections; the kernels end with the server."""
        for kernel in self._kernels:
            kernel.close()
