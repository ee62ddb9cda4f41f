"""Plays one point: starts the processes, kills and restarts the victim, and judges the end."""

from __future__ import annotations

import select
import selectors
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from people import Child, Role, Task
from points import Point
from scene import Offer, differences, left_over, prepare, records, right_bytes

from nbferry.storage.folder.manifest_file import progress_of

# Seconds after which a point counts as hung. An ended side lingers for ten of them.
SECONDS = {"small": 30.0, "large": 60.0}
# Seconds after the receiver's result in which the sender must hear of it, and both must close.
HEARING = 8.0
# Seconds in which a sender handles what a receiver sent before it died.
DRAIN = 0.02
# Seconds before the restart of a side that failed before both met. Doubles each time.
RESTART_DELAY = 0.05
MAX_RESTART_DELAY = 1.0
# How many of the first and last lines a failure shows.
FIRST, LAST = 60, 60

MET = frozenset({"offered", "hashing", "transferring", "verifying", "writing", "done"})
SIDES: tuple[Role, ...] = ("sender", "receiver")
STORING = frozenset({"transferring", "verifying", "writing"})


class Wrong(Exception):
    """A rule that a point breaks."""


@dataclass
class Outcome:
    """The result of a point.

    ``kills`` is how often the victim died. ``reported`` are the bytes that the sender knew as durable after the last
    death of a receiver, ``journal`` those found in the journal. ``calls`` are those of the victim's last life.
    ``failure`` is "" if all is right.
    """

    point: str
    kind: str
    kills: int = 0
    reported: int = 0
    journal: int = 0
    calls: int = 0
    names: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    failure: str = ""
    trace: list[str] = field(default_factory=list)

    @property
    def resumed(self) -> bool:
        """Whether a receiver died and left chunks to resume from."""
        return self.journal > 0

    def fields(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def play(point: Point, offer: Offer, root: Path, *, keep: bool = False) -> Outcome:
    """Play a point in the new folder ``root``, and remove the folder unless ``keep``."""
    outcome = Outcome(str(point), point.kind)
    began = time.monotonic()
    played = Play(point, offer, root, outcome)
    try:
        played.run()
    except Wrong as wrong:
        outcome.failure = str(wrong)
    finally:
        played.close()
    outcome.failure = outcome.failure or played.complaints()
    if outcome.failure:
        outcome.trace = played.trace()
    outcome.seconds = round(time.monotonic() - began, 3)
    if not keep:
        shutil.rmtree(root)
    return outcome


class Play:
    """The state of one point."""

    def __init__(self, point: Point, offer: Offer, root: Path, outcome: Outcome) -> None:
        self.point, self.offer, self.root, self.outcome = point, offer, root, outcome
        for name in ("sender", "receiver", "relay", "sender.state", "receiver.state", "relay.state"):
            (root / name).mkdir(parents=True)
        self._to = root / "receiver" / "to"
        self._expected = prepare(point.mode, offer, self._to)
        self._children: dict[Role, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._lives: dict[Role, int] = {"sender": 0, "receiver": 0, "relay": 0}
        self._results: dict[Role, dict[str, Any]] = {}
        self._errors: dict[Role, str] = {}
        # Sides that had a result when they died.
        self._sweeping: set[Role] = set()
        self._closed: set[Role] = set()
        self._given_up: set[Role] = set()
        self._met = False
        # The most bytes that the sender knew as durable.
        self._durable = 0
        # The bytes that a restarted receiver must begin with.
        self._owed = 0
        # Reported in its present life.
        self._receivers_durable = 0
        self._url, self._port, self._code = "", 0, ""
        # When to restart which role.
        self._due: dict[Role, float] = {}
        self._restart_delays: dict[Role, float] = dict.fromkeys(self._lives, RESTART_DELAY)
        self._until = time.monotonic() + SECONDS[point.size]
        self._hearing_until: float | None = None
        self._said: list[str] = []

    # -------------------------------------------------------------- the course
    def run(self) -> None:
        """Play from the first start to the judgement. Raises :class:`Wrong`."""
        self._start("sender" if self.point.path == "own" else "relay")
        while not self._over():
            self._start_who_is_due()
            self._step(0.02 if self._due else 0.5)
            if time.monotonic() > self._until:
                raise Wrong(f"it hangs: {self._errors or 'no error'}; {self._who()}")
        self._judge()

    def _over(self) -> bool:
        """Whether all processes have ended: both sides, then the relay."""
        if "receiver" not in self._results or {"receiver", "sender"} & self._due.keys():
            return False
        running = [role for role in SIDES if role in self._children] or [*self._children]
        if busy := [role for role in running if role in SIDES and role not in self._closed]:
            self._wait_for(busy)
            return False
        for role in running:
            self._children[role].release()
        return not running

    def _wait_for(self, busy: list[Role]) -> None:
        """The receiver has the files. Give both sides a little time to tell each other."""
        now = time.monotonic()
        self._hearing_until = self._hearing_until or now + HEARING
        if now < self._hearing_until:
            return
        for role in busy:
            if role != "sender" or self.point.victim != "sender":
                raise Wrong(f"the {role} does not come to its end after the receiver's result")
            self._note("the sender that was killed waits for the receiver, which is gone")
            self._given_up.add(role)
            self._children[role].kill()

    def _step(self, seconds: float) -> None:
        seconds = max(0.0, min(seconds, self._until - time.monotonic() + 0.01))
        if self._hearing_until is not None:
            seconds = min(seconds, 0.1)
        for key, _ in self._selector.select(seconds):
            self._listen(key.data)

    def _listen(self, child: Child) -> None:
        # The child's lines ended while another's death was handled.
        if (lines := child.lines) < 0:
            return
        said = child.read()
        if said is None:
            self._selector.unregister(lines)
            self._ended(child)
            return
        for line in said:
            self._said.append(f"{time.monotonic() % 1000:.3f} {child.task.role}: {line}")
            getattr(self, f"_heard_{line.pop('is')}")(child, **line)

    # -------------------------------------------------------------- starts
    def _start(self, role: Role) -> None:
        life = self._lives[role]
        self._lives[role] = life + 1
        numbered = self.point.victim == role and self.point.how != "bytes"
        fatal = self.point.at[life] if numbered and life < len(self.point.at) else None
        task = Task(
            role=role,
            cwd=self.root / role,
            state=self.root / f"{role}.state",
            errors=self.root / f"{role}.errors",
            seconds=max(0.1, self._until - time.monotonic() - 0.5),
            start=self.point.start if life else "cell",
            sweep=role in self._sweeping,
            fatal=fatal,
            when=self.point.when,
            relay=self._url or None,
            port=self._port,
            via="direct" if self.point.path == "own" else self.point.path,
            paths=tuple(self.offer.paths),
            code=self._code,
            overwrite="replace" if self.point.mode == "replace" else "rename",
        )
        if role == "receiver":
            self._receivers_durable = 0
        child = Child(task, list(self._children.values()))
        self._children[role] = child
        self._selector.register(child.lines, selectors.EVENT_READ, child)

    def _start_who_is_due(self) -> None:
        for role, when in list(self._due.items()):
            if time.monotonic() >= when:
                del self._due[role]
                self._start(role)

    # -------------------------------------------------------------- what they say
    def _heard_relay(self, _: Child, url: str) -> None:
        self._url, self._port = url, urlsplit(url).port or 0
        if not self._lives["sender"]:
            self._start("sender")

    def _heard_begun(self, child: Child, id: str) -> None:  # noqa: A002  # the field's name
        """The line only appears in the trace."""

    def _heard_code(self, child: Child, code: str) -> None:
        if self._code and code != self._code:
            self._offered_anew(child)
        self._code = code
        if not self._lives["receiver"]:
            self._start("receiver")

    def _offered_anew(self, child: Child) -> None:
        """A sender that recorded its end is over, so its cell starts another transfer."""
        if "receiver" not in self._results:
            self._note("another code before the receiver had its result")
            return
        self._note("the sender was over, and offers anew")
        self._given_up.add("sender")
        child.kill()

    def _heard_seen(self, child: Child, state: str, verified: int, durable: int, **_: Any) -> None:
        self._met = self._met or state in MET
        if child.task.role == "sender":
            self._durable = max(self._durable, durable)
        elif state in STORING:
            self._check_kept(durable)
        if child.task.role == "receiver":
            self._kill_if_far_enough(verified)

    def _heard_result(self, child: Child, **fields: Any) -> None:
        self._results[child.task.role] = fields

    def _heard_closed(self, child: Child) -> None:
        self._closed.add(child.task.role)

    def _heard_error(self, child: Child, type: str, message: str) -> None:  # noqa: A002  # the field's name
        self._errors[child.task.role] = f"{type}: {message}"

    def _heard_calls(self, child: Child, total: int, names: dict[str, int]) -> None:
        if child.task.role == self.point.victim:
            self.outcome.calls, self.outcome.names = total, names

    def _check_kept(self, durable: int) -> None:
        """Bytes reported durable must stay so in this life and in the next."""
        owed = max(self._owed, self._receivers_durable)
        if durable < owed:
            raise Wrong(f"{owed} bytes were reported durable, and {durable} are")
        self._receivers_durable = durable

    def _kill_if_far_enough(self, verified: int) -> None:
        at, kills = self.point.at, self.outcome.kills
        due = self.point.how == "bytes" and kills < len(at) and verified >= at[kills]
        if due and (child := self._children.get(self.point.victim)):
            child.kill()

    # -------------------------------------------------------------- ends
    def _ended(self, child: Child) -> None:
        role = child.task.role
        del self._children[role]
        if child.status == -9:
            self._died(role)
        elif child.status != 0:
            raise Wrong(f"the {role} ended with status {child.status}")
        elif role in self._errors:
            self._failed(role)

    def _died(self, role: Role) -> None:
        if role in self._given_up:
            self._results.setdefault(role, {})
            return
        self.outcome.kills += 1
        self._hearing_until = None
        self._closed.discard(role)
        if role == "receiver":
            self._look_at_the_journal()
        if role in self._results or self._was_over(role):
            self._results.setdefault(role, {})
            self._sweeping.add(role)
        self._due[role] = time.monotonic()

    def _was_over(self, role: Role) -> bool:
        """Whether a side died between its end and its report: its record is gone, and the files are in place."""
        return (
            role in SIDES
            and not records(self.root / f"{role}.state")
            and not differences(self._expected, self._to)
        )

    def _failed(self, role: Role) -> None:
        """Restart a side that failed because the other one died before both met."""
        error = self._errors.pop(role)
        if self._met or not self.point.at:
            raise Wrong(f"the {role} failed: {error}")
        self._note(f"the {role} restarts: {error.partition(':')[0]}")
        self._due[role] = time.monotonic() + self._restart_delays[role]
        self._restart_delays[role] = min(2 * self._restart_delays[role], MAX_RESTART_DELAY)

    def _look_at_the_journal(self) -> None:
        """After a receiver's death the journal must cover all bytes that the sender knew as durable."""
        until = time.monotonic() + DRAIN
        while (left := until - time.monotonic()) > 0 and (sender := self._children.get("sender")):
            if select.select([sender.lines], [], [], left)[0]:
                self._listen(sender)
        self.outcome.reported = self._durable
        self.outcome.journal = self._journalled()
        self._owed = self._durable
        if self.outcome.journal < self.offer.total:
            self._check_vouched_for(self.outcome.journal)
        if self.outcome.journal < self._durable:
            raise Wrong(
                f"{self._durable} bytes were reported durable, {self.outcome.journal} are in the journal"
            )

    def _journalled(self) -> int:
        if not differences(self._expected, self._to):
            return self.offer.total
        known = [progress_of(self._to, log.parent.name) for log in self._to.glob(".nbferry/*/have.*.log")]
        return max((manifest.bytes_in(have) for manifest, have in filter(None, known)), default=0)

    def _check_vouched_for(self, journal: int) -> None:
        """Before publication the journal must not exceed the right bytes in the staging folder."""
        right = sum(right_bytes(self.offer, data) for data in self._to.glob(".nbferry/*/data"))
        if journal > right:
            raise Wrong(f"{journal} bytes are in the journal, and {right} of them are right")

    # -------------------------------------------------------------- the judgement
    def _judge(self) -> None:
        if wrong := differences(self._expected, self._to):
            raise Wrong("; ".join(wrong))
        unfinished = records(self.root / "receiver.state")
        if unfinished:
            self._note("the receiver could not tell the sender, and keeps its record")
        if left := [name for name in left_over(self._to) if name not in unfinished]:
            raise Wrong(f"left at the destination: {', '.join(left)}")
        for role in SIDES:
            state = self.root / f"{role}.state"
            if set(left_over(state)) - set(records(state)):
                self._note(f"files without a record stay beside the {role}'s notebook")

    def complaints(self) -> str:
        """What the processes wrote to stderr, which must be empty."""
        for file in sorted(self.root.glob("*.errors")):
            if "Traceback" in (text := file.read_text()):
                return f"{file.name}: {text.strip().splitlines()[-1]}"
        return ""

    def trace(self) -> list[str]:
        """The first and last lines of the processes, and their stderr."""
        texts = [f"--- {file.name}\n{file.read_text()}" for file in sorted(self.root.glob("*.errors"))]
        said = (
            self._said if len(self._said) <= FIRST + LAST else [*self._said[:FIRST], "…", *self._said[-LAST:]]
        )
        return [*said, *(text[-6000:] for text in texts)]

    def _note(self, what: str) -> None:
        if what not in self.outcome.notes:
            self.outcome.notes.append(what)

    def _who(self) -> str:
        return ", ".join(f"{role} in life {self._lives[role]}" for role in self._children)

    def close(self) -> None:
        """End every process."""
        for child in self._children.values():
            child.end()
        self._selector.close()
