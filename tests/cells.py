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

# The token of a server that lives for one test.
TOKEN = "4f1c" * 8


class CellError(Exception):
    """A cell failed. Carries the error's name and text, and what the cell printed on stderr."""


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
        """Start a cell without waiting for it. Returns the id of its request."""
        return str(self._client.execute(code))

    def messages(self, cell: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Type and content of each message that a cell causes, until the cell ends."""
        while True:
            message = self._client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != cell:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return
            yield kind, content

    def finish(self, cell: str) -> tuple[str, dict[str, str]]:
        """Wait for a cell. Returns what it printed and its displayed value; raises CellError if it failed."""
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
        """Run a cell to its end. Returns what it printed."""
        return self.finish(self.start(code))[0].strip()

    def show(self, code: str) -> dict[str, str]:
        """Run a cell to its end. Returns its displayed value."""
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
        """Interrupt the kernel, as the stop button does."""
        assert self.manager
        self.manager.interrupt_kernel()

    def kill_and_restart(self) -> None:
        """Kill the kernel as ``kill -9`` does and restart it in the same folder, as the restart button does."""
        assert self.manager
        self.manager.restart_kernel(now=True)
        self._client.wait_for_ready(timeout=PATIENCE)

    def ask_to_exit(self) -> int:
        """Ask the kernel to exit by itself. Returns its exit code."""
        assert self.manager
        self._client.shutdown()
        process = self.manager.provisioner.process  # type: ignore[union-attr]  # it is a local one
        code: int = process.wait(PATIENCE)
        return code

    def close(self) -> None:
        """Close the connection, and end the kernel if this test started it."""
        self._client.stop_channels()
        if self.manager:
            self.manager.shutdown_kernel(now=True)
            self.manager.cleanup_resources()


def start_kernel(folder: Path, **changes: str | None) -> Kernel:
    """Start a kernel in a new folder, with these changes to its environment."""
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
        """The server's answer to a request of its user."""
        headers = {"Authorization": f"token {TOKEN}"}
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)  # noqa: S310  # ours
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            return json.load(answer)

    def wait_until_it_answers(self) -> None:
        """Wait for the server to listen: it prints its address earlier than that."""
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
