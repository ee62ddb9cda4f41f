"""The commands of ``nbferry``: each parses its arguments, calls the API, and shows the transfers until they end.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 rejected or cancelled by the other side; 4 code wrong, used or expired;
130 interrupted. Modules of nbferry are imported where they are needed, so that ``--help`` and ``--version`` stay quick.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from nbferry import errors
from nbferry._version import __version__
from nbferry.cli.options import (
    Duration,
    common,
    ice_options,
    keep,
    named_servers,
    quiet_or_json,
    relay_option,
    verbose,
)
from nbferry.limits import Limits
from nbferry.model.codes import MAX_WORDS, MIN_WORDS
from nbferry.model.overwrite import Overwrite

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


def exit_code(error: errors.NbferryError) -> int:
    """The exit code for an error."""
    if isinstance(error, _CODE_ERRORS):
        return CODE
    if isinstance(error, errors.Rejected | errors.Cancelled):
        return DECLINED
    return FAILED


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nbferry")
def cli() -> None:
    """Send data from one notebook or terminal to another."""


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
@click.option(
    "--to",
    type=click.IntRange(1),
    default=1,
    help="Number of receivers. Several receivers use a long ticket.",
)
@keep
@click.option(
    "--follow-symlinks", is_flag=True, help="Send the targets of symbolic links; otherwise skip links."
)
@common
def send(paths: Sequence[str], code_length: int, expires: float, to: int, **options: Any) -> None:
    """Offer files and folders, and print the code that the receiver needs."""
    from nbferry.api import send as start  # noqa: PLC0415

    ice_servers = named_servers(options)

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
@click.option("--yes", is_flag=True, help="Accept any offer without asking.")
@click.option(
    "--overwrite",
    type=click.Choice([str(mode) for mode in Overwrite]),
    default=str(Overwrite.RENAME),
    show_default=True,
    help="What to do if a name exists already.",
)
@keep
@common
def receive(code: str | None, folder: str, yes: bool, overwrite: Any, **options: Any) -> None:
    """Receive what the sender of CODE offers. Without CODE, read it from NBFERRY_CODE or stdin."""
    from nbferry.api import receive as start  # noqa: PLC0415

    ice_servers = named_servers(options)
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
    # A process may have no stdin.
    line = sys.stdin.readline().strip() if sys.stdin else ""
    if not line:
        raise click.UsageError("No code was given. Pass it as an argument, in NBFERRY_CODE, or on stdin.")
    return line


@cli.command()
@click.argument("transfers", nargs=-1, metavar="[ID]…")
@click.option("--take-over", is_flag=True, help="Also resume what another process runs; that one stops.")
@quiet_or_json
@verbose
def resume(transfers: Sequence[str], take_over: bool, **options: Any) -> None:
    """Resume the unfinished transfers of this folder: all, or only those named by the beginning of an ID."""
    from nbferry import api  # noqa: PLC0415

    def begin() -> list[Transfer]:
        if transfers:
            return [api.resume(name, take_over=take_over) for name in dict.fromkeys(transfers)]
        return api.resume(take_over=take_over)

    _run_all(begin, options)


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def list_(as_json: bool) -> None:
    """List the unfinished transfers of this folder, and how much of each has arrived."""
    from nbferry.api import transfers  # noqa: PLC0415
    from nbferry.cli.screens import unfinished  # noqa: PLC0415

    with _usage():
        views = [transfer.snapshot for transfer in transfers()]
    for line in unfinished(views, as_json=as_json):
        click.echo(line)


@cli.command()
@click.argument("transfer", metavar="ID")
def discard(transfer: str) -> None:
    """End an unfinished transfer: remove its partial data and its secrets."""
    from nbferry.api import discard as end  # noqa: PLC0415

    end(transfer)


@cli.command()
@click.argument("path", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def verify(path: str, as_json: bool) -> None:
    """Compare the received files at PATH with the receipt of their transfer."""
    from nbferry.api import verify as check  # noqa: PLC0415
    from nbferry.cli.screens import verified  # noqa: PLC0415

    outcome = check(path)
    for line in verified(outcome, as_json=as_json):
        click.echo(line)
    sys.exit(DONE if outcome.right else FAILED)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8470, show_default=True, help="Port; 0 is any free one."
)
@click.option("--max-rooms", type=click.IntRange(1), default=None, help="Limit of rooms at one time.")
@click.option(
    "--joins-per-minute",
    type=click.IntRange(1),
    default=None,
    help="Limit of joins by code for each address.",
)
@click.option(
    "--channel-bytes", type=click.IntRange(1), default=None, help="Limit of bytes forwarded in a room."
)
@click.option(
    "--behind-proxy",
    is_flag=True,
    help="Trust the client address that a proxy reports. Use only behind a proxy.",
)
@verbose
def relay(host: str, port: int, behind_proxy: bool, verbose: bool, **limits: Any) -> None:
    """Run a relay: both sides meet here, and encrypted data pass through where no direct path exists."""
    import asyncio  # noqa: PLC0415

    from nbferry.relay.app import serve  # noqa: PLC0415
    from nbferry.relay.limits import RelayLimits  # noqa: PLC0415

    _log(verbose=verbose)
    given = {name: value for name, value in limits.items() if value is not None}
    chosen = RelayLimits(**given)
    asyncio.run(serve(host, port, chosen, behind_proxy=behind_proxy, started=_say_where))


def _say_where(relay: Any) -> None:
    click.echo(f"The relay is at {relay.url}")


@cli.command()
@relay_option("Relay to check. Default: NBFERRY_RELAY.")
@ice_options
def doctor(relay: str | None, **options: Any) -> None:
    """Check which paths work on this machine, and say what to do about the others."""
    from nbferry.cli.doctor import checks  # noqa: PLC0415
    from nbferry.transfer import arguments  # noqa: PLC0415

    named = arguments.ice_servers_named(named_servers(options))
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
    """Report invalid arguments and an invalid environment as wrong usage."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error


# ------------------------------------------------------------------ showing transfers
def _run(begin: Callable[[], Transfer], options: dict[str, Any]) -> None:
    _run_all(lambda: [begin()], options)


def _run_all(begin: Callable[[], list[Transfer]], options: dict[str, Any]) -> None:
    """Start all transfers, and show them one after the other. The first that fails gives the exit code."""
    from nbferry.engine import portal  # noqa: PLC0415

    _log(verbose=options["verbose"])
    _be_interrupted_by("SIGINT", "SIGTERM", "SIGHUP")
    try:
        with _usage():
            codes = _follow_all(begin(), as_json=options["as_json"], quiet=options["quiet"])
    finally:
        portal.stop()
    sys.exit(next(filter(None, codes), DONE))


def _follow_all(transfers: list[Transfer], **how: bool) -> list[int]:
    from nbferry.cli.screens import screen_for  # noqa: PLC0415

    if not transfers:
        screen_for(**how).nothing()
    codes: list[int] = []
    for transfer in transfers:
        codes.append(_follow(transfer, screen_for(**how)))
        if codes[-1] == INTERRUPTED:
            break
    return codes


def _follow(transfer: Transfer, screen: Screen) -> int:
    """Show a transfer until it ends; return the exit code."""
    try:
        screen.follow(transfer)
    except errors.NbferryError as error:
        screen.close()
        screen.error(error)
        return exit_code(error)
    except KeyboardInterrupt:
        if transfer.accepted:
            screen.interrupted(transfer.id)
        else:
            transfer.cancel("interrupted by the other side")
        return INTERRUPTED
    finally:
        screen.close()
    return DONE


def _be_interrupted_by(*names: str) -> None:
    """Have these signals end the process in good order, so that its transfers can be resumed.

    A second signal ends it at once.
    """
    heeded: list[int] = []

    def leave_at_once(*_: object) -> None:
        os._exit(INTERRUPTED)

    def interrupt(*_: object) -> None:
        for number in heeded:
            signal.signal(number, leave_at_once)
        raise KeyboardInterrupt

    for name in names:
        # Windows has no SIGHUP; nohup has it ignored.
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is not signal.SIG_IGN:
            heeded.append(number)
            signal.signal(number, interrupt)


def _log(*, verbose: bool) -> None:
    if verbose:
        logging.basicConfig(
            level=logging.DEBUG, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s"
        )
        # These log each packet, with addresses and nonces.
        for chatty in ("aioice", "aiortc"):
            logging.getLogger(chatty).setLevel(logging.INFO)
    else:
        # A failure is shown as an error.
        logging.getLogger().addHandler(logging.NullHandler())


# ------------------------------------------------------------------ the command
def main() -> None:
    """The entry point of the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal may be unable to show a name.
            stream.reconfigure(errors="backslashreplace")
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
        # Python flushes stdout once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        # Only --verbose shows a traceback.
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
    """Report an error that no screen has shown."""
    if "--json" in sys.argv:
        fields = {"code": code, "message": message, "hint": hint, "retryable": retryable}
        click.echo(json.dumps({"event": "error", **fields}))
    else:
        click.echo(f"Error: {message} {hint}".rstrip(), err=True)
