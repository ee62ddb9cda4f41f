"""Calls in worker threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nbferry.engine.threads import Threads


def test_a_call_returns_what_the_function_returns():
    """The function gets the arguments and runs in another thread, and the caller gets its value."""

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as executor:
            threads = Threads(executor)
            value, thread = await threads.call(lambda n: (n + 1, threading.current_thread()), 1)
            assert value == 2
            assert thread is not threading.main_thread()

    asyncio.run(scenario())


def test_an_error_is_raised_where_the_call_is_awaited():
    """``call`` raises the function's exception, and ``settle`` still works."""

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as executor:
            threads = Threads(executor)
            with pytest.raises(ZeroDivisionError):
                await threads.call(lambda: 1 // 0)
            await threads.settle()

    asyncio.run(scenario())


def test_settle_waits_for_a_call_whose_wait_was_cancelled():
    """A cancelled wait leaves the thread running, and ``settle`` returns only when it has ended."""

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as executor:
            threads = Threads(executor)
            running, release, done = threading.Event(), threading.Event(), []

            def work() -> None:
                running.set()
                release.wait()
                done.append(True)

            waiting = asyncio.create_task(threads.call(work))
            await asyncio.to_thread(running.wait)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert done == []
            release.set()
            await threads.settle()
            assert done == [True]

    asyncio.run(scenario())
