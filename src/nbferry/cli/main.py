"""The command ``nbferry``: parse, call, show.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 rejected or cancelled by the other side; 4 code wrong, used or expired;
130 interrupted.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import override

from nbferry import errors
from nbferry._version import __version__
from nbferry.limits import Limits
from nbferry.model.codes import MAX_WORDS, MIN_WORDS
from nbferry.model.overwrite import Overwrite
from nbferry.model.paths import Via

if TYPE_CHECKING:
    from nbferry.cli.screens import Screen
    from nbferry.transfer.handle import Transfer

DONE, FAILED, USAGE, DECLINED, CODE, INTERRUPTED = 0, 1, 2, 3, 4, 130

_CODE_ERRORS = (
    errors.CodeInvalid,
    errors.CodeNotFound,
    errors.CodeUsed,
    errors.CodeExpired,
    errors.CodeBurnt,
    errors.WrongCode,
    errors.Expired,
)
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_LONGEST = 365 * 86400  # seconds; a relay ends a room after a week anyway


def exit_code(error: errors.NbferryError) -> int:
    """What the shell is told."""
    if isinstance(error, _CODE_ERRORS):
        return CODE
    if isinstance(error, errors.Rejected | errors.Cancelled):
        return DECLINED
    return FAILED


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in the stubs of some versions of click only
    """Seconds, or a number with a unit: ``90``, ``45s``, ``10min``, ``1h``, ``2d``."""

    name = "duration"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it; click turns the failure into wrong usage."""
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]*)", str(value), re.ASCII)
        seconds = float(match[1]) * _UNITS.get(match[2], 0) if match else 0.0
        if not 0 < seconds <= _LONGEST:
            self.fail(f"{value!r} is no duration; say 90, 45s, 10min, 1h or 2d", param, ctx)
        return seconds


class RelayUrl(click.ParamType):  # type: ignore[type-arg]  # generic in the stubs of some versions of click only
    """The address of a relay, in its one way to be written."""

    name = "url"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it; click turns the failure into wrong usage."""
        from nbferry.model.codes import canonical_url  # noqa: PLC0415  # --help and --version stay quick

        try:
            return canonical_url(str(value))
        except errors.CodeInvalid as error:
            self.fail(f"{str(value)[:200]!r}: {error.message} {error.hint}", param, ctx)


class IceServers(click.ParamType):  # type: ignore[type-arg]  # generic in the stubs of some versions of click only
    """STUN and TURN servers, with commas between them; what is wrong is not repeated, as it may hold a secret."""

    name = "urls"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Judge it; click turns the failure into wrong usage."""
        from nbferry.model.ice_servers import ice_servers  # noqa: PLC0415  # --help and --version stay quick

        try:
            ice_servers(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def _relay_option(text: str) -> Callable[..., Any]:
    return click.option("--relay", type=RelayUrl(), metavar="URL", help=text)


def _ice_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--no-stun", is_flag=True, help="Ask no such server: for closed networks."),
        click.option(
            "--ice-servers",
            type=IceServers(),
            metavar="URL,…",
            help="STUN and TURN servers for the way through NATs; else NBFERRY_ICE_SERVERS, which is also the "
            "better place for a secret, or a public STUN server.",
        ),
    ):
        command = option(command)
    return command


def _named_servers(options: dict[str, Any]) -> str | None:
    """What both options say; None if they say nothing."""
    named: str | None = options["ice_servers"]
    if options["no_stun"] and named:
        raise click.UsageError("--no-stun and --ice-servers do not go together.")
    return "" if options["no_stun"] else named


_verbose = click.option("-v", "--verbose", is_flag=True, help="Log to stderr what happens.")


_keep = click.option(
    "--keep",
    type=Duration(),
    default="7d",
    show_default=True,
    help="How long an unfinished transfer can be resumed.",
)


def _quiet_or_json(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="Print the code and errors only."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, nothing else."),
    ):
        command = option(command)
    return command


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        _verbose,
        _quiet_or_json,
        _ice_options,
        click.option(
            "--via",
            type=click.Choice([str(via) for via in Via.choices()]),
            default=str(Via.AUTO),
            help="Path to take; best by default.",
        ),
        _relay_option("Relay to use; else the code's, NBFERRY_RELAY, or one of its own."),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nbferry")
def cli() -> None:
    """Get data from one notebook, or terminal, to another."""


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH…")
@click.option(
    "--code-length",
    type=click.IntRange(MIN_WORDS, MAX_WORDS),
    default=MIN_WORDS,
    show_default=True,
    help="Words in the code.",
)
@click.option("--expires", type=Duration(), default="1h", show_default=True, help="How long the code works.")
@click.option("--to", type=click.IntRange(1), default=1, help="Receivers; more than one get a long ticket.")
@_keep
@click.option(
    "--follow-symlinks", is_flag=True, help="Send what symbolic links point to; they are skipped otherwise."
)
@_common
def send(paths: Sequence[str], code_length: int, expires: float, to: int, **options: Any) -> None:
    """Offer files and folders; prints the code that the receiver needs."""
    from nbferry.api import send as start  # noqa: PLC0415  # --help and --version stay quick

    ice_servers = _named_servers(options)

    def begin() -> Transfer:
        return start(
            list(paths),
            to=to,
            relay=options["relay"],
            via=options["via"],
            ice_servers=ice_servers,
            code=code_length if to == 1 else None,
            expires=expires,
            limits=Limits(keep_unfinished=options["keep"]),
            follow_symlinks=options["follow_symlinks"],
        )

    _run(begin, options)


@cli.command()
@click.argument("code", required=False)
@click.option("--to", "folder", type=click.Path(file_okay=False), default=".", help="Folder to receive into.")
@click.option("--yes", is_flag=True, help="Accept any offer without a question.")
@click.option(
    "--overwrite",
    type=click.Choice([str(mode) for mode in Overwrite]),
    default=str(Overwrite.RENAME),
    show_default=True,
    help="What to do about names that exist.",
)
@_keep
@_common
def receive(code: str | None, folder: str, yes: bool, overwrite: Any, **options: Any) -> None:
    """Take in what a CODE stands for. Without CODE, NBFERRY_CODE or a prompt gives it."""
    from nbferry.api import receive as start  # noqa: PLC0415  # --help and --version stay quick

    ice_servers = _named_servers(options)
    given = code or os.environ.get("NBFERRY_CODE", "").strip() or _prompt_for_code()

    def begin() -> Transfer:
        return start(
            given,
            to=folder,
            accept=True if yes else None,
            overwrite=overwrite,
            limits=Limits(keep_unfinished=options["keep"]),
            relay=options["relay"],
            via=options["via"],
            ice_servers=ice_servers,
        )

    _run(begin, options)


def _prompt_for_code() -> str:
    if sys.stdin and sys.stdin.isatty():
        click.echo("Code: ", nl=False, err=True)
    line = sys.stdin.readline().strip() if sys.stdin else ""  # a process may have none
    if not line:
        raise click.UsageError(
            "No code was given: neither as an argument, nor in NBFERRY_CODE, nor on stdin."
        )
    return line


@cli.command()
@click.argument("transfers", nargs=-1, metavar="[ID]…")
@click.option("--take-over", is_flag=True, help="Also from another process, which then stops.")
@_quiet_or_json
@_verbose
def resume(transfers: Sequence[str], take_over: bool, **options: Any) -> None:
    """Go on with unfinished transfers of this folder: with all, or those named by the beginning of their ID."""
    from nbferry import api  # noqa: PLC0415  # --help and --version stay quick

    def begin() -> list[Transfer]:
        if transfers:
            return [api.resume(name, take_over=take_over) for name in dict.fromkeys(transfers)]
        return api.resume(take_over=take_over)

    _run_all(begin, options)


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_(as_json: bool) -> None:
    """List the unfinished transfers of this folder, with how much is there."""
    from nbferry.api import transfers  # noqa: PLC0415  # --help and --version stay quick
    from nbferry.cli.screens import unfinished  # noqa: PLC0415  # the same

    with _usage():
        views = [transfer.snapshot for transfer in transfers()]
    for line in unfinished(views, as_json=as_json):
        click.echo(line)


@cli.command()
@click.argument("transfer", metavar="ID")
def discard(transfer: str) -> None:
    """Give up an unfinished transfer: remove its part data and secrets."""
    from nbferry.api import discard as end  # noqa: PLC0415  # --help and --version stay quick

    end(transfer)


@cli.command()
@click.argument("path", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def verify(path: str, as_json: bool) -> None:
    """Compare what was received at PATH with the receipt that its transfer left."""
    from nbferry.api import verify as check  # noqa: PLC0415  # --help and --version stay quick
    from nbferry.cli.screens import verified  # noqa: PLC0415  # the same

    outcome = check(path)
    for line in verified(outcome, as_json=as_json):
        click.echo(line)
    sys.exit(DONE if outcome.right else FAILED)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8470, show_default=True, help="Port; 0 is any free one."
)
@click.option("--max-rooms", type=click.IntRange(1), default=None, help="Rooms at once.")
@click.option(
    "--joins-per-minute", type=click.IntRange(1), default=None, help="Joins by code per address and minute."
)
@click.option("--channel-bytes", type=click.IntRange(1), default=None, help="Bytes that one room may relay.")
@click.option("--behind-proxy", is_flag=True, help="Believe the address that a proxy names; only behind one.")
@_verbose
def relay(host: str, port: int, behind_proxy: bool, verbose: bool, **limits: Any) -> None:
    """Run a relay: others meet here, and sealed bytes go through where no direct path exists."""
    import asyncio  # noqa: PLC0415  # --help and --version stay quick

    from nbferry.relay.app import serve  # noqa: PLC0415  # --help and --version stay quick
    from nbferry.relay.limits import RelayLimits  # noqa: PLC0415  # --help and --version stay quick

    _log(verbose=verbose)
    given = {name: value for name, value in limits.items() if value is not None}
    chosen = RelayLimits(**given)
    asyncio.run(serve(host, port, chosen, behind_proxy=behind_proxy, started=_say_where))


def _say_where(relay: Any) -> None:
    click.echo(f"The relay is at {relay.url}")


@cli.command()
@_relay_option("Relay to look at; else NBFERRY_RELAY.")
@_ice_options
def doctor(relay: str | None, **options: Any) -> None:
    """Look at what nbferry has to work with here: which paths there are, and what to do where there is none."""
    from nbferry.cli.doctor import checks  # noqa: PLC0415  # the same
    from nbferry.transfer import arguments  # noqa: PLC0415  # --help and --version stay quick

    named = arguments.ice_servers_named(_named_servers(options))
    with _usage():
        servers = arguments.ice_servers_otherwise() if named is None else named
    good = True
    for check in checks(relay or os.environ.get("NBFERRY_RELAY"), servers):
        good = good and check.good
        click.echo(f"{'ok  ' if check.good else 'FAIL'}  {check.what}: {check.found}")
        if not check.good:
            click.echo(f"      -> {check.remedy}")
    sys.exit(DONE if good else FAILED)


@contextmanager
def _usage() -> Iterator[None]:
    """Arguments, or the environment, that make no sense are wrong usage."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


# ------------------------------------------------------------------ transfers, shown to their end
def _run(begin: Callable[[], Transfer], options: dict[str, Any]) -> None:
    _run_all(lambda: [begin()], options)


def _run_all(begin: Callable[[], list[Transfer]], options: dict[str, Any]) -> None:
    """Follow one transfer after the other; they all run meanwhile. The first that fails gives the exit code."""
    from nbferry.engine import portal  # noqa: PLC0415  # --help and --version stay quick

    _log(verbose=options["verbose"])
    _be_interrupted_by("SIGINT", "SIGTERM", "SIGHUP")
    try:
        with _usage():
            codes = _follow_all(begin(), as_json=options["as_json"], quiet=options["quiet"])
    finally:
        portal.stop()
    sys.exit(next(filter(None, codes), DONE))


def _follow_all(transfers: list[Transfer], **how: bool) -> list[int]:
    from nbferry.cli.screens import screen_for  # noqa: PLC0415  # --help and --version stay quick

    if not transfers:
        screen_for(**how).nothing()
    codes: list[int] = []
    for transfer in transfers:
        codes.append(_follow(transfer, screen_for(**how)))
        if codes[-1] == INTERRUPTED:
            break
    return codes


def _follow(transfer: Transfer, screen: Screen) -> int:
    """Show a transfer to its end; the exit code."""
    try:
        screen.follow(transfer)
    except errors.NbferryError as error:
        screen.close()
        screen.error(error)
        return exit_code(error)
    except KeyboardInterrupt:
        if transfer.accepted:
            screen.left(transfer.id)
        else:
            transfer.cancel("interrupted there")
        return INTERRUPTED
    finally:
        screen.close()
    return DONE


def _be_interrupted_by(*names: str) -> None:
    """Let these signals end the process in good order, so that what is there is kept and can be gone on with.

    The second one ends it at once.
    """
    heeded: list[int] = []

    def leave_at_once(*_: object) -> None:
        os._exit(INTERRUPTED)

    def interrupt(*_: object) -> None:
        for number in heeded:
            signal.signal(number, leave_at_once)
        raise KeyboardInterrupt

    for name in names:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants
            heeded.append(number)
            signal.signal(number, interrupt)


def _log(*, verbose: bool) -> None:
    if verbose:
        logging.basicConfig(
            level=logging.DEBUG, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s"
        )
        for chatty in ("aioice", "aiortc"):  # they tell of each packet, with addresses and nonces
            logging.getLogger(chatty).setLevel(logging.INFO)
    else:
        logging.getLogger().addHandler(logging.NullHandler())  # what matters is shown as an error


# ------------------------------------------------------------------ the command
def main() -> None:
    """The entry point of the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name is no failure
    try:
        sys.exit(cli(prog_name="nbferry", standalone_mode=False))
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(USAGE)
    except click.ClickException as error:
        _say("usage", _sentence(error.format_message()), _where_to_look(error))
        sys.exit(error.exit_code)
    except errors.NbferryError as error:
        _say(error.code, error.message, error.hint, retryable=error.retryable)
        sys.exit(exit_code(error))
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # Python flushes it once more at its end
        sys.exit(FAILED)
    except Exception as error:  # a person never sees a traceback unless it was asked for
        logging.getLogger("nbferry").debug("the command failed unexpectedly", exc_info=True)
        _say(
            "error",
            f"Something unexpected went wrong ({type(error).__name__}: {error}).",
            "Please report it.",
        )
        sys.exit(FAILED)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def _where_to_look(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"See {context.command_path if context else 'nbferry'} --help."


def _say(code: str, message: str, hint: str, *, retryable: bool = False) -> None:
    """Report an error that came before there was a screen."""
    if "--json" in sys.argv:
        fields = {"code": code, "message": message, "hint": hint, "retryable": retryable}
        click.echo(json.dumps({"event": "error", **fields}))
    else:
        click.echo(f"Error: {message} {hint}".rstrip(), err=True)
