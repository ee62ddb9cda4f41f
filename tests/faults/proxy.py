"""A TCP proxy that breaks connections on purpose."""

from __future__ import annotations

import asyncio
import threading
from typing import Self


class CuttingProxy:
    """Passes bytes on to a port of this machine, and cuts a connection after so many of them.

    ``cut_after`` lists, for the connections that carry data, after how many bytes each is reset; when the list is
    used up, the rest live.
    """

    def __init__(self, port: int, cut_after: list[int]) -> None:
        self._target = port
        self._cut_after = cut_after
        self.cuts = 0
        self.carried = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _close(self) -> None:
        self._server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 20)
        ends = (writer, back)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, back, ends))
                pumps.create_task(self._pump(there, writer, ends))
        except* (OSError, asyncio.CancelledError):
            pass  # one end is gone: so is the other
        finally:
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader, writer, ends) -> None:
        passed = 0
        while data := await reader.read(64 << 10):
            passed += len(data)
            self.carried += len(data)
            if self._cut_after and passed > self._cut_after[0]:
                self._cut_after.pop(0)
                self.cuts += 1
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError
