"""Kernels that are killed during a transfer and resume it after their restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cells import Kernel, start_kernel
from running import MIB

# Holes instead of data; large enough that the kill comes during the transfer.
SIZE = 500 * MIB

Kernels = tuple[Kernel, Kernel]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernels]:
    """Two kernels in two folders."""
    root = tmp_path_factory.mktemp("killed").resolve()
    both = start_kernel(root / "sender"), start_kernel(root / "receiver")
    yield both
    for kernel in both:
        kernel.close()


@pytest.fixture
def kernels(pair: Kernels) -> Iterator[Kernels]:
    """Two kernels during a transfer."""
    sender, receiver = pair
    with (sender.folder / "data.bin").open("wb") as file:
        file.truncate(SIZE)
    code = sender.run("import nbferry\nsending = nbferry.send('data.bin'); print(sending.code)")
    receiver.run(
        f"import nbferry\nreceiving = nbferry.receive({code!r}, accept=True)\n"
        "while not receiving.snapshot.durable:\n    pass"
    )
    yield pair
    sender.run("sending.cancel()")
    (receiver.folder / "data.bin").unlink(missing_ok=True)


def is_whole(kernels: Kernels) -> bool:
    """Whether the file arrived unchanged."""
    sender, receiver = kernels
    return (receiver.folder / "data.bin").read_bytes() == (sender.folder / "data.bin").read_bytes()


def test_a_receiving_kernel_that_is_killed(kernels: Kernels) -> None:
    """The restarted receiver lists the transfer with its progress, and ``resume`` completes it."""
    sender, receiver = kernels
    receiver.kill_and_restart()
    listed = receiver.run(
        "import nbferry\n(rests,) = nbferry.transfers(); view = rests.snapshot\n"
        "print(view.state, view.names, 0 < view.durable < view.total)"
    )
    assert listed == "paused ('data.bin',) True"
    receiver.run("(receiving,) = nbferry.resume(); receiving.wait(60)")
    sender.run("sending.wait(60)")
    assert is_whole(kernels)
    assert receiver.run("print(receiving.snapshot.state, list(nbferry.resume()))") == "done []"


def test_a_sending_kernel_that_is_killed(kernels: Kernels) -> None:
    """After a restart the same cell resumes, and the receiver does nothing."""
    sender, receiver = kernels
    sender.kill_and_restart()
    sender.run("import nbferry\nsending = nbferry.send('data.bin'); sending.wait(60)")
    receiver.run("receiving.wait(60)")
    assert is_whole(kernels)


def test_a_listed_transfer_is_resumed_by_its_handle(kernels: Kernels) -> None:
    """``transfer.resume()`` resumes a transfer of an earlier process, and its handle can be awaited."""
    _, receiver = kernels
    receiver.kill_and_restart()
    receiver.run("import nbferry\n(rests,) = nbferry.transfers(); rests.resume(); await rests")
    assert is_whole(kernels)


def test_a_listed_transfer_is_discarded_by_its_handle(kernels: Kernels) -> None:
    """``transfer.cancel()`` removes a transfer of an earlier process."""
    _, receiver = kernels
    receiver.kill_and_restart()
    listed = receiver.run(
        "import nbferry\n(rests,) = nbferry.transfers(); rests.cancel()\n"
        "try:\n    rests.wait(60)\nexcept nbferry.NbferryError as error:\n    print(error.code)\n"
        "print(list(nbferry.resume()))"
    )
    assert listed == "cancelled\n[]"
    assert not list(receiver.folder.rglob("data"))
    assert not (receiver.folder / "data.bin").exists()
