"""The one thread of the engine: an event loop in a daemon thread, made on first use, one per process."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from nbferry.transports.websocket import DIAL

T = TypeVar("T")

CLOSING_CYCLES = 20  # of the loop: asyncio closes a socket some cycles after its connection was aborted
STOP_TIMEOUT = 5.0  # seconds at interpreter exit, to tell the other side and to release part data


# Functions registered with ``atexit`` run after executors have stopped taking work, which is too late to clean up.
_at_exit: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)


class Portal:
    """Work from any thread goes to the loop; nothing but futures and frozen values comes back."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._shared: dict[Any, Any] = {}
        self._lock = threading.RLock()
        self._closing: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._thread = threading.Thread(target=self._run, name="nbferry", daemon=True)
        self._thread.start()
        _at_exit(self.stop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the loop, soon; its result is dropped."""
        self._loop.call_soon_threadsafe(function)

    def ask(self, function: Callable[[], T]) -> T:
        """Call a function on the loop and wait for what it returns. Not from the loop's own thread."""
        if threading.current_thread() is self._thread:
            return function()

        async def answer() -> T:
            return function()

        return self.submit(answer()).result()

    @property
    def is_current(self) -> bool:
        """Whether the caller is on the portal's thread."""
        return threading.current_thread() is self._thread

    def shared(self, make: Callable[[Portal], T]) -> T:
        """What ``make`` makes of this portal, once, whichever thread asks first."""
        with self._lock:
            if make not in self._shared:
                self._shared[make] = make(self)
            made: T = self._shared[make]
            return made

    def at_stop(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have this awaited before the loop stops."""
        self._closing.append(close)

    def stop(self) -> None:
        """Close everything and end the thread. May be called twice."""
        if not self._thread.is_alive() or threading.current_thread() is self._thread:
            return
        closing = self.submit(self._close())
        try:
            closing.result(STOP_TIMEOUT)
        except TimeoutError:
            closing.cancel()  # the process ends; the other side will notice that we are gone
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_TIMEOUT)
        if not self._thread.is_alive():
            self._loop.close()

    async def _close(self) -> None:
        for close in self._closing:
            await close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            if task.get_name() != DIAL:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(CLOSING_CYCLES):
            await asyncio.sleep(0)


_portal: Portal | None = None
_lock = threading.Lock()


def portal() -> Portal:
    """This process's portal. A forked child gets a new one: threads do not survive a fork."""
    global _portal  # noqa: PLW0603  # one engine per kernel is the point
    with _lock:
        if _portal is None:
            _portal = Portal()
        return _portal


def stop() -> None:
    """End this process's portal, if it has one; the next use makes a new one."""
    global _portal
    with _lock:
        ended, _portal = _portal, None
    if ended:
        ended.stop()


def _forget() -> None:
    global _portal, _lock
    _portal, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
