"""Two kernels of one Jupyter server find its relay by themselves. The relay rejects other users."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tornado.httpclient import HTTPRequest
from tornado.ioloop import IOLoop
from tornado.websocket import websocket_connect

from cells import TOKEN, Server
from kernels.conftest import jupyter_server
from running import MIB, PATIENCE, Commands


def ask(server: Server, message: Mapping[str, object], **headers: str) -> dict[str, object]:
    """The relay's answer to a first message."""

    async def talk() -> dict[str, object]:
        url = f"ws{server.url.removeprefix('http')}nbferry/ws"
        socket = await websocket_connect(HTTPRequest(url, headers=headers))
        await socket.write_message(json.dumps(message).encode(), binary=True)
        answer = await socket.read_message()
        assert answer
        socket.close()
        return dict(json.loads(answer))

    answer: dict[str, object] = IOLoop(make_current=False).run_sync(talk, timeout=PATIENCE)
    return answer


def test_kernels_of_a_server(server: Server, nbferry: Commands) -> None:
    """Kernels find the server's relay without a setting. It transfers a folder and keeps its token secret."""
    sender, receiver = server.kernel("sender"), server.kernel("receiver")
    content = os.urandom(2 * MIB + 1)
    (sender.folder / "flights").mkdir()
    (sender.folder / "flights/table.csv").write_bytes(content)
    code = sender.run("import nbferry; sending = nbferry.send('flights', via='relay'); print(sending.code)")
    assert code.endswith(f"@{server.url}")
    assert server.url.endswith("/user/anna/")
    assert TOKEN not in code
    via = receiver.run(
        f"import nbferry; result = await nbferry.receive({code!r}, via='relay'); print(result.via, result.digest)"
    )
    assert via.split() == ["relay", sender.run("print(sending.wait(60).digest)")]
    assert (receiver.folder / "flights/table.csv").read_bytes() == content

    code = sender.run("sending = nbferry.send('flights'); print(sending.code)")
    outsider = nbferry("receive", code, "--json", folder="outside")
    assert outsider.end() == 0, outsider.said()
    assert (nbferry.root / "outside/flights/table.csv").read_bytes() == content

    create = {"type": "create", "room": None, "key": "0" * 32, "seconds": 60}
    assert ask(server, create)["code"] == "not-authorized"
    assert ask(server, create, Authorization=f"token {TOKEN}")["type"] == "created"
    assert ask(server, {"type": "join", "room": "000000"})["code"] == "room-unknown"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{server.url}api/contents", timeout=PATIENCE)  # noqa: S310  # ours


def test_a_server_that_is_killed(tmp_path: Path, nbferry: Commands) -> None:
    """A killed server takes kernel and relay with it. After a restart the same cell resumes, and the receiver waits."""
    root = tmp_path.resolve() / "server"
    cell = "import nbferry; sending = nbferry.send('data.bin', via='relay'); print(sending.code)"
    with jupyter_server(root) as first:
        kernel = first.kernel("sender")
        with (kernel.folder / "data.bin").open("wb") as file:
            file.truncate(500 * MIB)
        receiver = nbferry("receive", kernel.run(cell), "--yes", "--via", "relay", "--json", folder="outside")
        receiver.event("progress", lambda event: event["durable"])
        first.process.kill()
        first.process.wait(PATIENCE)
    receiver.state("paused")
    with jupyter_server(root, int(urlsplit(first.url).port or 0)) as second:
        kernel = second.kernel("sender")
        kernel.run(f"{cell}; sending.wait(60)")
    assert receiver.end() == 0
    assert (nbferry.root / "outside/data.bin").stat().st_size == 500 * MIB
