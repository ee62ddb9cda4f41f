"""Blocking calls in worker threads. Their owner can wait until all have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """Calls functions of one owner in threads, and knows which calls still run."""

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
            # Marks the exception as seen: the caller gets it, unless the caller was cancelled and needs it no longer.
            call.exception()

    async def settle(self) -> None:
        """Return when every call has ended. Their exceptions were reported, or their callers were cancelled."""
        await asyncio.gather(*self._running, return_exceptions=True)
