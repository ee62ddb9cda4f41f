"""The contestants: each moves one file between two processes of this machine over the loopback interface.

A contestant is set up once and timed in each round. The time is that of the receiving command, from start to exit,
while the sending side waits. For scp and rsync it is the command itself, with sshd running.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

HERE = Path(sys.executable).parent
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
READY_WITHIN = 30.0
WARM_BLOCK = 1 << 20


class Missing(Exception):
    """A program is not installed."""


class Contestant(ABC):
    """One way to move a file."""

    name: str
    encrypted = True
    verified = True

    def set_up(self, work: Path, cleanup: ExitStack) -> None:
        """Get ready. Raises :class:`Missing`."""

    @abstractmethod
    def move(self, source: Path, to: Path) -> float:
        """Move ``source`` into the folder ``to``. Returns the seconds that it took."""


def needed(program: str, *places: str) -> str:
    """The path of a program."""
    found = shutil.which(program, path=os.pathsep.join([str(HERE), os.environ["PATH"], *places]))
    if not found:
        raise Missing(f"{program} is not installed")
    return found


def warm(source: Path, to: Path) -> None:
    """Touch as much memory as the copy takes, just before it is timed.

    A virtual machine returns unused memory to its host after a second or two. The next process that writes a file
    then needs about 2 s of processor time per GB to get it back, which no contestant causes.
    """
    ballast = to / "ballast"
    with ballast.open("wb") as file:
        for _ in range(source.stat().st_size // WARM_BLOCK + 1):
            file.write(bytes(WARM_BLOCK))
    ballast.unlink()


def timed(command: list[str], **options: object) -> float:
    """Run a command. Returns the seconds that it took."""
    started = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload]
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-500:]}")
    return seconds


def daemon(cleanup: ExitStack, command: list[str], **options: object) -> subprocess.Popen[bytes]:
    """Start a process that runs until the end of the benchmark."""
    process = subprocess.Popen(command, **{**QUIET, **options})  # type: ignore[call-overload]
    cleanup.callback(process.wait, 10)
    cleanup.callback(process.terminate)
    return process


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Wait until a process listens on a port."""
    until = time.monotonic() + READY_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            # The process gives no other sign.
            time.sleep(0.05)
        else:
            return


class Cp(Contestant):
    """No network, no encryption, no check: the limit that the disk sets."""

    name = "cp"
    encrypted = verified = False

    def move(self, source: Path, to: Path) -> float:
        """Copy with ``cp``."""
        warm(source, to)
        return timed(["cp", "--reflink=never", str(source), str(to)])


class Nbferry(Contestant):
    """nbferry with all features: hashed, sealed, verified, synced, published."""

    def __init__(self, via: str) -> None:
        self.name = f"nbferry {via}"
        self._via = via
        self._relay = ""
        self.transfer_seconds: list[float] = []

    def set_up(self, work: Path, cleanup: ExitStack) -> None:
        """Start a relay as a separate process."""
        port = free_port()
        daemon(cleanup, [sys.executable, "-m", "nbferry", "relay", "--port", str(port)])
        wait_for_port(port)
        self._relay = f"http://127.0.0.1:{port}/"

    def move(self, source: Path, to: Path) -> float:
        """Send, and time the receiver."""
        base = [sys.executable, "-m", "nbferry"]
        options = ["--via", self._via, "--json"]
        env = {**os.environ, "NBFERRY_HOST": "127.0.0.1", "NBFERRY_ICE_SERVERS": ""}
        with subprocess.Popen(
            [*base, "send", str(source), "--relay", self._relay, *options],
            stdout=subprocess.PIPE,
            env=env,
            text=True,
        ) as sender:
            assert sender.stdout
            code = json.loads(sender.stdout.readline())["code"]
            drain = subprocess.Popen(["cat"], stdin=sender.stdout, **QUIET)  # type: ignore[call-overload]
            warm(source, to)
            started = time.perf_counter()
            receiver = subprocess.run(
                [*base, "receive", "--to", str(to), "--yes", *options],
                env={**env, "NBFERRY_CODE": code},
                capture_output=True,
                text=True,
                timeout=600,
                check=True,
            )
            seconds = time.perf_counter() - started
            sender.wait(30)
            drain.wait(30)
        self.transfer_seconds.append(json.loads(receiver.stdout.splitlines()[-1])["seconds"])
        return seconds


class Ssh(Contestant):
    """Common part of scp and rsync: an sshd with new keys."""

    verified = False  # packets are authenticated, but the file is not compared

    def set_up(self, work: Path, cleanup: ExitStack) -> None:
        """Start sshd with new keys."""
        self._program = needed(self.name.split()[0])
        sshd = needed("sshd", "/usr/sbin")
        folder, port = work / f"ssh-{self.name.split()[0]}", free_port()
        folder.mkdir(mode=0o700)
        Path("/run/sshd").mkdir(exist_ok=True)
        for key in ("host", "id"):
            timed(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)])
        config = folder / "config"
        config.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/id.pub\n"
            f"StrictModes no\nUsePAM no\nPidFile {folder}/pid\nSubsystem sftp internal-sftp\n"
        )
        daemon(cleanup, [sshd, "-D", "-f", str(config)])
        wait_for_port(port)
        self._port = str(port)
        self._options = ["-i", f"{folder}/id", "-o", "StrictHostKeyChecking=no"]
        self._options += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]


class Scp(Ssh):
    """scp copies over ssh."""

    name = "scp"

    def move(self, source: Path, to: Path) -> float:
        """Copy with scp."""
        warm(source, to)
        return timed([self._program, "-q", "-P", self._port, *self._options, str(source), f"127.0.0.1:{to}"])


class Rsync(Ssh):
    """rsync copies whole files over ssh and compares a checksum at the end."""

    name = "rsync over ssh"
    verified = True

    def move(self, source: Path, to: Path) -> float:
        """Copy with rsync."""
        warm(source, to)
        ssh = " ".join(["ssh", "-p", self._port, *self._options])
        return timed([self._program, "-W", "-e", ssh, str(source), f"127.0.0.1:{to}"])


class Wormhole(Contestant):
    """magic-wormhole with local servers on the loopback interface."""

    def __init__(self, name: str, *options: str) -> None:
        self.name = name
        self._options = options
        self._number = 0

    def set_up(self, work: Path, cleanup: ExitStack) -> None:
        """Start both servers."""
        self._program, twist = needed("wormhole"), needed("twist")
        folder = work / self.name.replace(" ", "-")
        folder.mkdir()
        mailbox, transit = free_port(), free_port()
        bound = "interface=127.0.0.1"
        mailbox_args = [
            "wormhole-mailbox",
            f"--port=tcp:{mailbox}:{bound}",
            f"--channel-db={folder}/relay.sqlite",
        ]
        daemon(cleanup, [twist, *mailbox_args], cwd=folder)
        daemon(cleanup, [twist, "transitrelay", f"--port=tcp:{transit}:{bound}"], cwd=folder)
        wait_for_port(mailbox)
        wait_for_port(transit)
        self._base = [
            self._program,
            f"--relay-url=ws://127.0.0.1:{mailbox}/v1",
            f"--transit-helper=tcp:127.0.0.1:{transit}",
        ]

    def move(self, source: Path, to: Path) -> float:
        """Send, and time the receiver."""
        command = [*self._base, "send", "--hide-progress", "--no-qr", *self._options, str(source)]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as sender:
            assert sender.stderr
            code = next(found[1] for line in sender.stderr if (found := re.search(r"code is: (\S+)", line)))
            drain = subprocess.Popen(["cat"], stdin=sender.stderr, **QUIET)  # type: ignore[call-overload]
            receive = [
                "receive",
                "--hide-progress",
                *self._options,
                "--accept-file",
                "-o",
                str(to / source.name),
                code,
            ]
            warm(source, to)
            seconds = timed([*self._base, *receive])
            sender.wait(30)
            drain.wait(30)
        return seconds


CONTESTANTS: list[Callable[[], Contestant]] = [
    Cp,
    lambda: Nbferry("direct"),
    lambda: Nbferry("relay"),
    Scp,
    Rsync,
    lambda: Wormhole("magic-wormhole"),
    lambda: Wormhole("magic-wormhole relayed", "--no-listen"),
]
