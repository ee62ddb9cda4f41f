"""All transfers of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from nbferry.connections.addresses import local_addresses
from nbferry.connections.context import ConnectContext, RelayAddress
from nbferry.engine.activities.activity import Activity, Resources
from nbferry.engine.activities.receive import Intake, ReceiveActivity
from nbferry.engine.activities.send import Offering, SendActivity
from nbferry.engine.activities.upload import UploadActivity
from nbferry.engine.slots import Slots
from nbferry.errors import Interrupted
from nbferry.limits import Limits
from nbferry.model.ice_servers import IceServer
from nbferry.model.paths import Via
from nbferry.storage.sources.pages import PageFiles

if TYPE_CHECKING:
    from nbferry.relay.app import RunningRelay

A = TypeVar("A", bound=Activity)

WORKERS = 16  # threads for files: two for each of a few active transfers; they wait for disks, not for the processor
MAX_ENDED = 100  # ended transfers that are still listed


@dataclass(frozen=True)
class Wishes:
    """How a transfer is to be connected.

    ``relay`` None: one of our own, on ``port`` (0: any); ``host`` None: listen everywhere; ``ice`` are the STUN and
    TURN servers that may be asked.
    """

    relay: Callable[[], RelayAddress | None]
    via: Via
    host: str | None
    port: int = 0
    ice: tuple[IceServer, ...] = ()


class Engine:
    """Lives on the loop's thread."""

    def __init__(self) -> None:
        self.activities: dict[str, Activity] = {}
        self._slots = Slots()
        self._executor = ThreadPoolExecutor(WORKERS, "nbferry-files")
        self._running: set[asyncio.Task[None]] = set()
        self._own_relays: dict[int, RunningRelay] = {}
        self._starting_relay = asyncio.Lock()

    def sending(self, offering: Offering, wishes: Wishes, limits: Limits) -> SendActivity:
        """A send, not yet started."""
        return SendActivity(offering, self._means(wishes, limits))

    def receiving(self, intake: Intake, wishes: Wishes, limits: Limits) -> ReceiveActivity:
        """A receive, not yet started."""
        return ReceiveActivity(intake, self._means(wishes, limits))

    def uploading(self, intake: Intake, files: PageFiles, wishes: Wishes, limits: Limits) -> UploadActivity:
        """An upload, not yet started; it is connected to nobody, whatever is wished."""
        return UploadActivity(intake, files, self._means(wishes, limits))

    def start(self, activity: A) -> A:
        """Run it, in place of what rests of the same transfer, or has ended."""
        self._forget_oldest()
        before = self.activities.pop(activity.id, None)
        if before and before is not activity and before.resting:
            before.go_on_as(activity)
        self.activities[activity.id] = activity
        task = asyncio.get_running_loop().create_task(activity.run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return activity

    def _forget_oldest(self) -> None:
        ended = [key for key, activity in self.activities.items() if activity.result.done()]
        for key in ended[: max(0, len(ended) - MAX_ENDED + 1)]:
            del self.activities[key]

    def _means(self, wishes: Wishes, limits: Limits) -> Resources:
        async def find() -> ConnectContext:
            relay = await asyncio.get_running_loop().run_in_executor(self._executor, wishes.relay)
            relay = relay or await self._relay_of_our_own(wishes.host, wishes.port)
            return ConnectContext(relay, wishes.via, limits, wishes.host, wishes.ice)

        return Resources(find, self._slots, self._executor, limits)

    async def _relay_of_our_own(self, host: str | None, port: int) -> RelayAddress:
        """A relay in this process: enough for two people on one machine, or in one network.

        A certain port is one that an earlier process had: the other side looks for us there.
        """
        from nbferry.relay.app import start_relay  # noqa: PLC0415  # tornado costs 50 ms, and is seldom needed here

        async with self._starting_relay:
            any_of_them = next(iter(self._own_relays.values()), None)
            running = self._own_relays.get(port) if port else any_of_them
            if running is None:
                running = await start_relay(host or "", port)
                port = urlsplit(running.url).port or 0
                self._own_relays[port] = running
        others = [address for address in local_addresses(host) if ":" not in address]
        port = urlsplit(running.url).port or 0
        return RelayAddress(running.url, f"http://{others[-1]}:{port}/" if others else "", own_port=port)

    async def aclose(self) -> None:
        """Let go of what runs, so that another process can go on, and stop."""
        for activity in self.activities.values():
            activity.leave(Interrupted())
        if self._running:
            await asyncio.wait(self._running, timeout=3)
        for relay in self._own_relays.values():
            await relay.aclose()
        self._executor.shutdown(wait=False, cancel_futures=True)
