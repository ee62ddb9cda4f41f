"""Time that passes only when nothing is left to do: hours of a transfer in milliseconds, the same in every run."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextlib import suppress
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

MOST_TURNS = (
    400_000  # of the loop; a run takes some thousands, so beyond this it turns without getting anywhere
)


INSTANT = 1e-9  # seconds: rounding must not leave the clock a hair before the timer that it was to reach


class Stuck(AssertionError):
    """Nothing will ever happen again, or the same things happen for ever."""


class Killed(BaseException):
    """The process that made this call is gone: no error handler of it may see that."""


class _Jump(selectors.SelectSelector):
    """Waits for no file: whatever it is to wait for has happened at once."""

    def __init__(self, most_turns: int, turn: float) -> None:
        super().__init__()
        self.now = 0.0
        self.turns = 0
        self._most = most_turns
        self._turn = turn

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass that a real one would wait."""
        self.turns += 1
        if timeout is None:
            raise Stuck("every task waits, and nothing is due")
        if self.turns > self._most:
            raise Stuck(f"{self._most} turns of the loop have led nowhere")
        self.now += max(0.0, timeout) + self._turn
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while anything can be done, and then jumps to the next timer.

    A ``turn`` of it takes so many seconds. ``faults`` collects what callbacks and forgotten tasks raised.
    """

    def __init__(self, most_turns: int, turn: float) -> None:
        self._jump = _Jump(most_turns, turn)
        self.faults: list[str] = []
        super().__init__(self._jump)
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._jump.now

    @property
    def turns(self) -> int:
        """How often the loop has turned."""
        return self._jump.turns

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context['message']}: {context.get('exception')!r}")


def run(
    main: Callable[[VirtualLoop], Coroutine[Any, Any, T]],
    *,
    most_turns: int = MOST_TURNS,
    turn: float = INSTANT,
) -> T:
    """Run a coroutine on a loop of its own; AssertionError if it leaves a task behind or a callback failed.

    Raises :class:`Stuck` if it gets nowhere.
    """
    loop = VirtualLoop(most_turns, turn)
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main(loop))
        left = asyncio.all_tasks(loop)
        assert not left, f"tasks are left: {left}"
        assert not loop.faults, loop.faults
        return result
    finally:
        _end_all(loop)
        asyncio.set_event_loop(None)
        loop.close()


def _end_all(loop: VirtualLoop) -> None:
    """Leave nothing behind that would complain when it is collected, or that holds files open."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop._jump.turns = 0
    with suppress(Stuck):
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


class Workers(Executor):
    """The worker threads of one process: calls take a while of virtual time, and happen as a whole at its end.

    ``died`` is called when a call raises :class:`Killed`. After that, or ``kill``, nothing that was asked for
    happens any more, and nobody hears of it.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        random: Random,
        *,
        died: Callable[[], None],
        seconds: Callable[[], float],
        threads: int = 2,
    ) -> None:
        self._loop = loop
        self._random = random
        self._died = died
        self._seconds = seconds
        self._free_at = [0.0] * threads
        self._coming: set[asyncio.TimerHandle] = set()
        self._dead = False

    def submit(self, function: Callable[..., T], /, *arguments: Any, **named: Any) -> Future[T]:
        """See :meth:`Executor.submit`."""
        future: Future[T] = Future()
        if not self._dead:
            thread = self._free_at.index(min(self._free_at))
            begin = max(self._loop.time(), self._free_at[thread])
            self._free_at[thread] = end = begin + self._seconds()
            handle: asyncio.TimerHandle = self._loop.call_at(
                end, lambda: self._do(handle, future, lambda: function(*arguments, **named))
            )
            self._coming.add(handle)
        return future

    def _do(self, handle: asyncio.TimerHandle, future: Future[T], call: Callable[[], T]) -> None:
        self._coming.discard(handle)
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(call())
        except Killed:
            self.kill()
            self._died()
        except BaseException as error:  # noqa: BLE001  # whoever waits for the call gets it, as from a thread
            future.set_exception(error)

    def kill(self) -> None:
        """The process is gone."""
        self._dead = True
        for handle in self._coming:
            handle.cancel()
        self._coming.clear()
