"""All transfers of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from nbferry.engine.activity import Activity
from nbferry.engine.addresses import local_addresses
from nbferry.engine.connect import RelayAddress, Surroundings, Via
from nbferry.engine.receiving import Intake, Receiving
from nbferry.engine.sending import Offering, Sending
from nbferry.engine.slots import Slots
from nbferry.limits import Limits

if TYPE_CHECKING:
    from nbferry.server.app import RunningRelay

A = TypeVar("A", bound=Activity)

WORKERS = 16  # threads for files: two for each of a few active transfers; they wait for disks, not for the processor
KEPT = 100  # ended transfers that are still listed


@dataclass(frozen=True)
class Wishes:
    """How a transfer is to be connected. ``relay`` None: one of our own; ``host`` None: listen everywhere."""

    relay: Callable[[], RelayAddress | None]
    via: Via
    host: str | None


class Engine:
    """Lives on the loop's thread."""

    def __init__(self) -> None:
        self.activities: dict[str, Activity] = {}
        self._slots = Slots()
        self._executor = ThreadPoolExecutor(WORKERS, "nbferry-files")
        self._running: set[asyncio.Task[None]] = set()
        self._own_relay: RunningRelay | None = None
        self._starting_relay = asyncio.Lock()

    def send(self, offering: Offering, wishes: Wishes, limits: Limits) -> Sending:
        """Start to send."""
        return self._start(
            Sending(offering, self._surroundings(wishes, limits), self._slots, self._executor, limits)
        )

    def receive(self, intake: Intake, wishes: Wishes, limits: Limits) -> Receiving:
        """Start to receive."""
        return self._start(
            Receiving(intake, self._surroundings(wishes, limits), self._slots, self._executor, limits)
        )

    def _start(self, activity: A) -> A:
        self._forget_oldest()
        self.activities[activity.id] = activity
        task = asyncio.get_running_loop().create_task(activity.run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return activity

    def _forget_oldest(self) -> None:
        ended = [key for key, activity in self.activities.items() if activity.snapshot.state.final]
        for key in ended[: max(0, len(ended) - KEPT + 1)]:
            del self.activities[key]

    def _surroundings(self, wishes: Wishes, limits: Limits) -> Callable[[], Awaitable[Surroundings]]:
        async def find() -> Surroundings:
            relay = await asyncio.get_running_loop().run_in_executor(self._executor, wishes.relay)
            relay = relay or await self._relay_of_our_own(wishes.host)
            return Surroundings(relay, wishes.via, limits, wishes.host)

        return find

    async def _relay_of_our_own(self, host: str | None) -> RelayAddress:
        """A relay in this process: enough for two people on one machine, or in one network."""
        from nbferry.server.app import start_relay  # noqa: PLC0415  # tornado costs 50 ms, and is seldom needed here

        async with self._starting_relay:
            if self._own_relay is None:
                self._own_relay = await start_relay(host or "", 0)
            port = urlsplit(self._own_relay.url).port
        others = [address for address in local_addresses(host) if ":" not in address]
        return RelayAddress(self._own_relay.url, f"http://{others[-1]}:{port}/" if others else "")

    async def aclose(self) -> None:
        """Cancel what runs, tell the other sides, and stop."""
        for activity in self.activities.values():
            activity.leave()
        if self._running:
            await asyncio.wait(self._running, timeout=3)
        if self._own_relay:
            await self._own_relay.aclose()
        self._executor.shutdown(wait=False, cancel_futures=True)
