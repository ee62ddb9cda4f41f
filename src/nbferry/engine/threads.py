"""Blocking calls in worker threads, none of which is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """Calls functions of one owner in threads, and knows which still run."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._running: set[asyncio.Future[Any]] = set()

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Return what the function returns. A cancelled wait does not end the call: threads cannot be stopped."""
        call = asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        self._running.add(call)
        call.add_done_callback(self._ended)
        return await asyncio.shield(call)

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._running.discard(call)
        if not call.cancelled():
            call.exception()  # whoever waits for it hears of it; if nobody does any more, nobody need

    async def settle(self) -> None:
        """Return when no call runs any more; what it raised was reported, or matters no more."""
        await asyncio.gather(*self._running, return_exceptions=True)
