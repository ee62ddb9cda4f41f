"""Every error a person can meet: one sentence to read, a hint on what to do next, and a code that travels.

    NbferryError(code, retryable, hint)
      LocalProtocolError   RemoteProtocolError
      RendezvousError      CodeInvalid CodeNotFound CodeUsed CodeExpired WrongCode CodeBurnt RelayRefused
      TransportError       ConnectFailed TransportClosed TransportBroken
      StorageError         UnsafePath DiskFull SourceChanged SourceAway DigestMismatch DestinationExists NoReceipt
      TransferError        Rejected Cancelled TimedOut Expired Interrupted TransferUnknown TransferBusy NoPage

The first line of a class's docstring is what the user reads when nothing more exact is known. Only the
engine retries, and only on ``retryable``.
"""

from __future__ import annotations

from typing import ClassVar


class NbferryError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.hint = self.default_hint if hint is None else hint
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        # constructors differ, so a copy in another process is made without them
        return _remade, (type(self), self.message), vars(self)


def _remade(kind: type[NbferryError], message: str) -> NbferryError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    return error


class LocalProtocolError(NbferryError):
    """Our own code broke the protocol; please report this."""

    code = "local-protocol"


class RemoteProtocolError(NbferryError):
    """The other side sent something that the protocol does not allow."""

    code = "remote-protocol"
    default_hint = "Check that both sides run a current nbferry."


# ------------------------------------------------------------------ rendezvous
class RendezvousError(NbferryError):
    """The two sides could not meet."""

    code = "rendezvous"


class CodeInvalid(RendezvousError):
    """This is not a code that nbferry could have issued."""

    code = "code-invalid"
    default_hint = "Check the spelling; nothing was tried with it."


class CodeNotFound(RendezvousError):
    """Nobody is waiting under this code."""

    code = "code-not-found"
    default_hint = "Check the number, and that the sender is still running."


class CodeUsed(RendezvousError):
    """This code has been used already; a code works once."""

    code = "code-used"
    default_hint = "Ask the sender for a new code."


class CodeExpired(RendezvousError):
    """This code has expired."""

    code = "code-expired"
    default_hint = "Ask the sender for a new code."


class WrongCode(RendezvousError):
    """The code is wrong."""

    code = "code-wrong"
    default_hint = "Check the words; after three wrong guesses a code is burnt."


class CodeBurnt(RendezvousError):
    """Three wrong guesses were made, so this code is burnt."""

    code = "code-burnt"
    default_hint = "Send again to get a new code; nothing was transferred."


class RelayRefused(RendezvousError):
    """The relay refused."""

    code = "relay-refused"
    default_hint = "Try again in a minute, or choose another relay."


# ------------------------------------------------------------------ transports
class TransportError(NbferryError):
    """The connection failed."""

    code = "transport"
    retryable = True
    default_hint = "Check the network, and that the other side and the relay still run."


class ConnectFailed(TransportError):
    """No connection could be made.

    ``tried`` lists the paths in order, each with what came of it.
    """

    code = "connect-failed"
    default_hint = "Check the address, that what should answer there is running, and the network."

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, tried: tuple[str, ...] = ()
    ) -> None:
        self.tried = tried
        if tried:
            message = f"{message or 'No connection could be made'} ({'; '.join(tried)})."
        super().__init__(message, hint=hint)


class TransportClosed(TransportError):
    """The connection was closed."""

    code = "transport-closed"


class TransportBroken(TransportError):
    """The connection broke."""

    code = "transport-broken"


# ------------------------------------------------------------------ storage
class StorageError(NbferryError):
    """Reading or writing a file failed."""

    code = "storage"


class UnsafePath(StorageError):
    """A name in the offer is not safe to create here, so nothing was written."""

    code = "unsafe-path"
    default_hint = "Ask the sender to rename it."


class DiskFull(StorageError):
    """The disk is full.

    ``needed`` is the number of bytes that are missing.
    """

    code = "disk-full"
    retryable = True
    default_hint = "Make room; the transfer goes on by itself."

    def __init__(self, needed: int, *, hint: str | None = None) -> None:
        self.needed = needed
        super().__init__(f"The disk is full: {needed:,} more bytes are needed.", hint=hint)


class SourceChanged(StorageError):
    """A file changed while it was being sent."""

    code = "source-changed"
    default_hint = "What has arrived is kept; when it is sent again, only what changed has to travel."


class SourceAway(StorageError):
    """The browser page that has the files is closed."""

    code = "source-away"
    retryable = True
    default_hint = "Open the notebook and choose the same files again."


class DigestMismatch(StorageError):
    """Data arrived damaged again and again."""

    code = "digest-mismatch"
    default_hint = "Try again; the file that was there before is untouched."


class DestinationExists(StorageError):
    """There is something at the destination already."""

    code = "destination-exists"
    default_hint = 'Choose another folder, or overwrite="rename" or "replace".'


class NoReceipt(StorageError):
    """No receipt of a finished transfer covers this."""

    code = "no-receipt"
    default_hint = "A receipt lies in .nbferry/receipts in the folder that was received into."


# ------------------------------------------------------------------ transfers
class TransferError(NbferryError):
    """The transfer ended early."""

    code = "transfer"


class Rejected(TransferError):
    """The receiver rejected the offer."""

    code = "rejected"
    default_hint = "Nothing was transferred."


class Cancelled(TransferError):
    """The transfer was cancelled."""

    code = "cancelled"
    default_hint = "What had arrived of it was removed."


class TimedOut(TransferError):
    """The transfer did not end in time."""

    code = "timed-out"
    default_hint = "It goes on; wait again, or cancel it."


class Expired(TransferError):
    """The offer expired before anybody took it."""

    code = "expired"
    default_hint = "Send again, or choose a longer expires=."


class Interrupted(TransferError):
    """This process leaves before the transfer is over; what is there is kept."""

    code = "interrupted"
    retryable = True
    default_hint = "Call nbferry.resume() to go on with it."


class TransferUnknown(TransferError):
    """There is no unfinished transfer of this name here."""

    code = "transfer-unknown"
    default_hint = "The command `nbferry list` shows those that there are."


class TransferBusy(TransferError):
    """Another process runs this transfer."""

    code = "transfer-busy"
    default_hint = "Stop it there, or resume it with take_over=True (nbferry resume --take-over)."


class NoPage(TransferError):
    """This needs a notebook that is open in a browser."""

    code = "no-page"
    default_hint = "Elsewhere, name the files: nbferry.send(paths), nbferry.receive(code)."


def _tree(kind: type[NbferryError]) -> dict[str, type[NbferryError]]:
    found = {kind.code: kind}
    for child in kind.__subclasses__():
        found |= _tree(child)
    return found


BY_CODE = _tree(NbferryError)


def from_code(code: str, message: str) -> NbferryError:
    """The error that a peer or a relay named; an unknown code becomes a plain :class:`NbferryError`."""
    kind = BY_CODE.get(code, NbferryError)
    if kind is DiskFull:
        kind = StorageError
    return kind(message or None)
