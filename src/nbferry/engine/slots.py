"""The queue: how many transfers move bytes at once."""

from __future__ import annotations

import asyncio


class Slots:
    """One semaphore for each direction.

    With a common one, transfers between two kernels could wait for each other for ever: a receiver takes a slot
    only when a sender has offered, and a sender only when a receiver has accepted, so that whoever holds one of each
    kind can go on.
    """

    def __init__(self, most: int) -> None:
        self.sending = asyncio.Semaphore(most)
        self.receiving = asyncio.Semaphore(most)
