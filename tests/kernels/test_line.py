"""A real kernel's line through a real Jupyter server."""

from __future__ import annotations

import asyncio

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from cells import TOKEN, Server
from nbferry.widget.framing import pack
from running import PATIENCE

NAME = "0123456789abcdef" * 2
LINE = f"""
import asyncio, threading
from nbferry.engine.portal import portal
from nbferry.widget.line import Line
released, answers = threading.Event(), set()
def received(number, message, buffer):
    answers.add(asyncio.ensure_future(line.send(number, {{"re": message["id"]}}, bytes(buffer)[::-1])))
    if message["op"] == "release":
        released.set()
line = Line({NAME!r}, received=received)
portal().call(line.start)
"""


async def page_of(server: Server) -> WebSocketClientConnection:
    """A page opens the line."""
    url = f"ws{server.url.removeprefix('http')}nbferry/page/{NAME}"
    return await websocket_connect(HTTPRequest(url, headers={"Authorization": f"token {TOKEN}"}))


async def ask(page: WebSocketClientConnection, number: int, op: str, buffer: bytes) -> bytes:
    """The buffer of the kernel's answer to a page."""
    await page.write_message(pack({"id": number, "op": op}) + buffer, binary=True)
    answer = await page.read_message()
    head = pack({"re": number})
    assert isinstance(answer, bytes)
    assert answer.startswith(head)
    return answer.removeprefix(head)


def test_a_busy_kernel(server: Server) -> None:
    """A page reaches a busy kernel, and again after it closed its socket."""
    kernel = server.kernel("notebooks")
    cell = kernel.start(f"{LINE}\nprint('busy'); released.wait(); print('released')")

    async def talk() -> None:
        async with asyncio.timeout(PATIENCE):
            for number, op in ((1, "look"), (2, "release")):
                page = await page_of(server)
                assert await ask(page, number, op, bytes(range(250))) == bytes(range(250))[::-1]
                page.close()
                assert await page.read_message() is None

    asyncio.run(talk())
    assert kernel.finish(cell)[0].split() == ["busy", "released"]
