"""Disks that fail, and processes that end, where a test says."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from nbferry.storage.disk.system import REAL_DISK


class Crash(BaseException):
    """The process ends here."""


class Failing:
    """A disk that fails at paths that contain ``where``, with the errors that it is given."""

    def __init__(self, where: str = "/data/") -> None:
        self.where = where
        # The next writes and flushes fail with these errors.
        self.writes: list[int] = []
        self.syncs: list[int] = []
        self.disk = replace(REAL_DISK, write=self.write, sync=self.sync, sync_whole=lambda _: False)

    def write(self, fd: int, data: memoryview, offset: int) -> int:
        """Write, or fail."""
        self._fail(self.writes, fd)
        return os.pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        """Flush, or fail."""
        self._fail(self.syncs, fd)

    def _fail(self, errors: list[int], fd: int) -> None:
        if errors and self.where in str(Path(f"/proc/self/fd/{fd}").readlink()):
            number = errors.pop(0)
            raise OSError(number, os.strerror(number))
