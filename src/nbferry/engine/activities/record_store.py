"""Keeps the record of a transfer beside the notebook, so that another process can resume it.

The record is saved before the other side is told anything that relies on it: a receiver's keys before its proof, a
sender's pairing before the sender's proof, the outcome before the last message.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar, cast

from nbferry.engine.threads import Threads
from nbferry.errors import NbferryError, StorageError, TransferBusy
from nbferry.status import State
from nbferry.storage.records.claim import BEAT_SECONDS, Claim
from nbferry.storage.records.ledger import Ledger
from nbferry.storage.records.record import AnyRecord

M = TypeVar("M", bound=AnyRecord)

log = logging.getLogger("nbferry")


class RecordStore(Generic[M]):
    """The record of one transfer, and the claim on it. A new transfer is claimed when it is first saved.

    A failure to write is logged once, and the next change tries again: a read-only folder must not prevent a transfer.
    After another process has taken over, nothing is written.
    """

    def __init__(self, record: M, ledger: Ledger) -> None:
        self.record: M = record
        self._ledger = ledger
        self._claim: Claim | None = None
        self._lock = threading.Lock()
        self._saved = self._over = self._warned = False

    def claim(self, *, take_over: bool = False) -> None:
        """Claim a transfer that an earlier process left, and read its present record.

        Raises :class:`TransferBusy` if a process runs it, and :class:`TransferUnknown` if it has ended.
        """
        claim = self._claimed(take_over=take_over)
        try:
            found = cast("M", self._ledger.find(self.record.id))
        except NbferryError:
            claim.release()
            raise
        # The reason why it stopped does not hold any longer.
        self.record = replace(found, reason="")
        self._claim, self._saved = claim, True

    def _claimed(self, *, take_over: bool) -> Claim:
        try:
            return Claim.take(self._ledger.folder_of(self.record.id), take_over=take_over)
        except StorageError:
            # An ended transfer has no folder; then this raises TransferUnknown.
            self._ledger.find(self.record.id)
            raise

    async def update_in(self, threads: Threads, **changes: Any) -> None:
        """Change fields of the record. They are on the disk when this returns."""
        await threads.call(lambda: self.update(**changes))

    def update(self, **changes: Any) -> None:
        """Do the same at once. Blocks: call it in a worker thread, or where the order of two messages depends on it."""
        self.change(lambda record: replace(record, **changes))

    def change(self, change: Callable[[M], M]) -> None:
        """Change the record by a function, so that two threads can each change their fields. Blocks.

        Raises :class:`TransferBusy` if another process resumed a new transfer before it was claimed here.
        """
        with self._lock:
            self.record = change(self.record)
            if not self._over and self._is_ours():
                self._write()

    def _is_ours(self) -> bool:
        return self._claim is None or self._claim.held()

    def _write(self) -> None:
        try:
            self._ledger.save(self.record)
            self._saved = True
            if self._claim is None:
                self._claim = Claim.take(self._ledger.folder_of(self.record.id))
        except TransferBusy:
            raise
        except NbferryError as error:
            if not self._warned:
                log.warning("transfer %s may not be resumed later: %s", self.record.id, error.message)
            self._warned = True

    async def heartbeat(
        self,
        threads: Threads,
        durable: Callable[[], int],
        taken: Callable[[], None],
        every: float = BEAT_SECONDS,
    ) -> None:
        """Every few seconds, show that this process runs the transfer, and save its progress.

        Calls ``taken`` and returns when another process has taken over.
        """
        while await threads.call(self._beat):
            await asyncio.sleep(every)
            if self._claim and durable() != self.record.durable:
                await self.update_in(threads, durable=durable())
        taken()

    def _beat(self) -> bool:
        with self._lock:
            if self._claim is None:
                return True
            return self._claim.beat()

    def finish(self, state: State, reason: str = "") -> None:
        """End the transfer for good: remove its record, even if another process has taken over.

        How it ended is noted if its offer was accepted or has expired.
        """
        with self._lock:
            self._over = True
            if self._saved:
                # It is still claimed, so no other process can resume it meanwhile.
                self._remove(state, reason)
            self._let_go()

    def _remove(self, state: State, reason: str) -> None:
        try:
            if self.record.was_accepted or state is State.EXPIRED:
                self._ledger.end(self.record, str(state), reason)
            else:
                self._ledger.forget(self.record)
        except NbferryError as error:
            log.warning("the record of transfer %s could not be removed: %s", self.record.id, error.message)

    def release(self, reason: str = "") -> None:
        """Release the claim, so that another process can resume the transfer. May be called twice."""
        if reason and self._claim:
            self.update(reason=reason)
        with self._lock:
            self._over = True
            self._let_go()

    def _let_go(self) -> None:
        claim, self._claim = self._claim, None
        if claim:
            claim.release()
