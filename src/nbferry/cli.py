"""The command ``nbferry``: parse, call, show.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 rejected or cancelled by the other side; 4 code wrong, used or expired;
130 interrupted.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

import nbferry
from nbferry import errors
from nbferry.show import Screen, screen_for

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


def exit_code(error: errors.NbferryError) -> int:
    """What the shell is told."""
    if isinstance(error, _CODE_ERRORS):
        return 4
    if isinstance(error, errors.Rejected | errors.Cancelled):
        return 3
    return 1


class Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds, or a number with a unit: ``90``, ``45s``, ``10min``, ``1h``, ``2d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it; click turns the failure into wrong usage."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value))
        if not match or match[2] not in _UNITS or float(match[1]) == 0:
            self.fail(f"{value!r} is no duration; say 90, 45s, 10min, 1h or 2d", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="Print the code and the result only."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, nothing else."),
        click.option(
            "--via",
            type=click.Choice(["auto", "direct", "relay"]),
            default="auto",
            help="Path to take; best by default.",
        ),
        click.option("--relay", metavar="URL", help="Relay to use; else NBFERRY_RELAY, else one of its own."),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(nbferry.__version__, prog_name="nbferry")
def cli() -> None:
    """Get data from one notebook, or terminal, to another."""


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(), metavar="PATH…")
@click.option(
    "--code-length", type=click.IntRange(3, 8), default=3, show_default=True, help="Words in the code."
)
@click.option("--expires", type=Duration(), default="1h", show_default=True, help="How long the code works.")
@click.option("--to", type=click.IntRange(1), default=1, help="Receivers; more than one get a long ticket.")
@click.option(
    "--follow-symlinks", is_flag=True, help="Send what symbolic links point to; they are skipped otherwise."
)
@_common
def send(paths: Sequence[str], code_length: int, expires: float, to: int, **options: Any) -> None:
    """Offer files and folders; prints the code that the receiver needs."""
    from nbferry.api import send as start  # noqa: PLC0415  # --help and --version stay quick

    _run(
        lambda screen: screen.follow(
            start(
                list(paths),
                to=to,
                relay=options["relay"],
                via=options["via"],
                code=code_length if to == 1 else None,
                expires=expires,
                follow_symlinks=options["follow_symlinks"],
            )
        ),
        options,
    )


@cli.command()
@click.argument("code", required=False)
@click.option("--to", "folder", type=click.Path(file_okay=False), default=".", help="Folder to receive into.")
@click.option("--yes", is_flag=True, help="Accept any offer without a question.")
@click.option(
    "--overwrite",
    type=click.Choice(["rename", "replace", "refuse"]),
    default="rename",
    show_default=True,
    help="What to do about names that exist.",
)
@_common
def receive(code: str | None, folder: str, yes: bool, overwrite: Any, **options: Any) -> None:
    """Take in what a CODE stands for. Without CODE, NBFERRY_CODE or a prompt gives it."""
    from nbferry.api import receive as start  # noqa: PLC0415

    given = code or os.environ.get("NBFERRY_CODE") or _prompt_for_code(options["as_json"])

    def begin(screen: Screen) -> Any:
        transfer = start(
            given,
            to=folder,
            accept=True if yes else screen.ask,
            overwrite=overwrite,
            relay=options["relay"],
            via=options["via"],
        )
        return screen.follow(transfer)

    _run(begin, options)


def _prompt_for_code(as_json: bool) -> str:
    if as_json or not sys.stdin.isatty():
        line = sys.stdin.readline().strip()
        if not line:
            raise click.UsageError(
                "No code was given: neither as an argument, nor in NBFERRY_CODE, nor on stdin."
            )
        return line
    return str(click.prompt("Code", err=True)).strip()


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
def relay(host: str, port: int, behind_proxy: bool, **limits: Any) -> None:
    """Run a relay: others meet here, and sealed bytes go through where no direct path exists."""
    from nbferry.server import app, limits as relay_limits  # noqa: PLC0415

    given = {name: value for name, value in limits.items() if value is not None}
    chosen = relay_limits.RelayLimits(**given)
    try:
        asyncio.run(app.serve(host, port, chosen, behind_proxy=behind_proxy, started=_say_where))
    except errors.NbferryError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)


def _say_where(relay: Any) -> None:
    click.echo(f"The relay is at {relay.url}")


@cli.command()
@click.option("--relay", metavar="URL", help="Relay to look at; else NBFERRY_RELAY.")
def doctor(relay: str | None) -> None:
    """Look at what nbferry has to work with here."""
    from nbferry.doctor import checks  # noqa: PLC0415

    good = True
    for check in checks(relay or os.environ.get("NBFERRY_RELAY")):
        good = good and check.good
        click.echo(f"{'ok  ' if check.good else 'FAIL'}  {check.what}: {check.found}")
    sys.exit(0 if good else 1)


def _run(begin: Callable[[Screen], Any], options: dict[str, Any]) -> None:
    from nbferry.engine import portal  # noqa: PLC0415

    screen = screen_for(as_json=options["as_json"], quiet=options["quiet"])
    try:
        try:
            begin(screen)
        finally:
            screen.close()
            portal.stop()
    except errors.NbferryError as error:
        screen.error(error)
        sys.exit(exit_code(error))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: errors.NbferryError) -> None:
    click.echo(f"Error: {error}", err=True)
    sys.exit(exit_code(error))


def main() -> None:
    """The entry point of the command."""
    cli(prog_name="nbferry")
