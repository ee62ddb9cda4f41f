"""Every error that a user can meet: one sentence, a hint on what to do next, and a code for programs.

    NbferryError(code, retryable, hint)
      LocalProtocolError   RemoteProtocolError
      RendezvousError      CodeInvalid CodeNotFound CodeUsed CodeExpired WrongCode CodeBurnt RelayRefused
      TransportError       ConnectFailed TransportClosed TransportBroken
      StorageError         UnsafePath DiskFull SourceChanged SourceAway DigestMismatch DestinationExists NoReceipt
      TransferError        Rejected Cancelled TimedOut Expired Interrupted TransferUnknown TransferBusy NoPage

The first line of a class's docstring is the message that the user reads where the code gives none.
Only the engine retries, and only errors that are ``retryable``.
"""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override


class NbferryError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.hint = self.default_hint if hint is None else hint
        super().__init__(self.message)

    @override
    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    @override
    def __reduce__(self) -> tuple[object, ...]:
        # constructors differ, so a copy in another process is made without them
        return _remade, (type(self), self.message), vars(self)


def _remade(kind: type[NbferryError], message: str) -> NbferryError:
    error = kind.__new__(kind, message)
    error.args = (message,)
    return error


class LocalProtocolError(NbferryError):
    """A bug in nbferry broke its protocol; please report this."""

    code = "local-protocol"


class RemoteProtocolError(NbferryError):
    """The other side broke the protocol."""

    code = "remote-protocol"
    default_hint = "Check that both sides run a current version of nbferry."


# ------------------------------------------------------------------ rendezvous
class RendezvousError(NbferryError):
    """The two sides could not find each other."""

    code = "rendezvous"


class CodeInvalid(RendezvousError):
    """This is not a valid code."""

    code = "code-invalid"
    default_hint = "Check the spelling. This did not count as a guess."


class CodeNotFound(RendezvousError):
    """No sender is waiting with this code."""

    code = "code-not-found"
    default_hint = "Check the number, and that the sender is still running."


class CodeUsed(RendezvousError):
    """This code was used before; a code works only once."""

    code = "code-used"
    default_hint = "Ask the sender for a new code."


class CodeExpired(RendezvousError):
    """This code has expired."""

    code = "code-expired"
    default_hint = "Ask the sender for a new code."


class WrongCode(RendezvousError):
    """The code is wrong."""

    code = "code-wrong"
    default_hint = "Check the words. Too many wrong guesses make the code invalid."


class CodeBurnt(RendezvousError):
    """This code is no longer valid: there were too many wrong guesses."""

    code = "code-burnt"
    default_hint = "Nothing was transferred. Send again to get a new code."


class RelayRefused(RendezvousError):
    """The relay refused the request."""

    code = "relay-refused"
    default_hint = "Try again in a minute, or choose another relay."


# ------------------------------------------------------------------ transports
class TransportError(NbferryError):
    """The connection failed."""

    code = "transport"
    retryable = True
    default_hint = "Check the network, and that the other side and the relay are still running."


class ConnectFailed(TransportError):
    """No connection could be made.

    ``tried`` lists the paths in the order tried, each with its outcome.
    """

    code = "connect-failed"
    default_hint = "Check the address and the network, and that the other side or the relay is running."

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
    """The offer contains an unsafe file name, so nothing was written."""

    code = "unsafe-path"
    default_hint = "Ask the sender to rename the file."


class DiskFull(StorageError):
    """The disk is full.

    ``needed`` is the number of bytes that the disk lacks.
    """

    code = "disk-full"
    retryable = True
    default_hint = "Free some space; the transfer then resumes by itself."

    def __init__(self, needed: int, *, hint: str | None = None) -> None:
        self.needed = needed
        super().__init__(f"The disk is full: {needed:,} more bytes are needed.", hint=hint)


class SourceChanged(StorageError):
    """A file changed while it was being sent."""

    code = "source-changed"
    default_hint = "What arrived is kept. Send again; only what changed is transferred."


class SourceAway(StorageError):
    """The browser page that provides the files is closed."""

    code = "source-away"
    retryable = True
    default_hint = "Open the notebook and choose the same files again."


class DigestMismatch(StorageError):
    """The same data arrived damaged several times."""

    code = "digest-mismatch"
    default_hint = "Try again. Existing files were not changed."


class DestinationExists(StorageError):
    """The destination already contains a file or folder of that name."""

    code = "destination-exists"
    default_hint = 'Choose another folder, or pass overwrite="rename" or overwrite="replace".'


class NoReceipt(StorageError):
    """No receipt covers this file or folder."""

    code = "no-receipt"
    default_hint = "Receipts are kept in .nbferry/receipts, in the folder that received the transfer."


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
    default_hint = "Data that had arrived was removed."


class TimedOut(TransferError):
    """The transfer did not finish before the timeout."""

    code = "timed-out"
    default_hint = "It is still running. Wait again, or cancel it."


class Expired(TransferError):
    """The offer expired before the other side accepted it."""

    code = "expired"
    default_hint = "Send again, with a longer expires= if needed."


class Interrupted(TransferError):
    """The process ended before the transfer did; what arrived is kept."""

    code = "interrupted"
    retryable = True
    default_hint = "Run `import nbferry; nbferry.resume()` to resume it."


class TransferUnknown(TransferError):
    """There is no unfinished transfer with this id here."""

    code = "transfer-unknown"
    default_hint = "Run `nbferry list` to see the unfinished transfers."


class TransferBusy(TransferError):
    """Another process is running this transfer."""

    code = "transfer-busy"
    default_hint = "Stop that process, or resume with take_over=True (nbferry resume --take-over)."


class NoPage(TransferError):
    """This works only in a notebook that is open in a browser."""

    code = "no-page"
    default_hint = "Elsewhere, use nbferry.send(paths) and nbferry.receive(code)."


def _tree(kind: type[NbferryError]) -> dict[str, type[NbferryError]]:
    found = {kind.code: kind}
    for child in kind.__subclasses__():
        found |= _tree(child)
    return found


BY_CODE = _tree(NbferryError)


def from_code(code: str, message: str) -> NbferryError:
    """The error for a code from a peer or a relay; an unknown code becomes a plain :class:`NbferryError`."""
    kind = BY_CODE.get(code, NbferryError)
    if kind is DiskFull:
        kind = StorageError
    return kind(message or None)
