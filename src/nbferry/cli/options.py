"""The options that several commands share, and the types of their values.

Modules of nbferry are imported where they are needed, so that ``--help`` and ``--version`` stay quick.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click
from typing_extensions import override

from nbferry import errors
from nbferry.model.paths import Via

_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
# seconds; a relay ends a room after a week anyway
_LONGEST = 365 * 86400

AnyCommand = Callable[..., Any]


# ------------------------------------------------------------------ types of values
# ParamType is generic only in the stubs of some versions of click.
class Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds, or a number with a unit: ``90``, ``45s``, ``10min``, ``1h``, ``2d``."""

    name = "duration"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]*)", str(value), re.ASCII)
        seconds = float(match[1]) * _UNITS.get(match[2], 0) if match else 0.0
        if not 0 < seconds <= _LONGEST:
            self.fail(f"{value!r} is not a duration; write 90, 45s, 10min, 1h or 2d", param, ctx)
        return seconds


class RelayUrl(click.ParamType):  # type: ignore[type-arg]
    """The address of a relay, in its canonical form."""

    name = "url"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from nbferry.model.codes import canonical_url  # noqa: PLC0415

        try:
            return canonical_url(str(value))
        except errors.CodeInvalid as error:
            self.fail(f"{str(value)[:200]!r}: {error.message} {error.hint}", param, ctx)


class IceServers(click.ParamType):  # type: ignore[type-arg]
    """STUN and TURN servers, separated by commas. An error does not repeat the value: it may hold a secret."""

    name = "urls"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from nbferry.model.ice_servers import ice_servers  # noqa: PLC0415

        try:
            ice_servers(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


# ------------------------------------------------------------------ options
verbose = click.option("-v", "--verbose", is_flag=True, help="Log details to stderr.")

keep = click.option(
    "--keep",
    type=Duration(),
    default="7d",
    show_default=True,
    help="How long an unfinished transfer can be resumed.",
)


def relay_option(text: str) -> AnyCommand:
    """The option ``--relay``, with the help text of one command."""
    return click.option("--relay", type=RelayUrl(), metavar="URL", help=text)


def ice_options(command: AnyCommand) -> AnyCommand:
    """Add the options that name STUN and TURN servers; :func:`named_servers` reads them."""
    for option in (
        click.option("--no-stun", is_flag=True, help="Use no STUN or TURN server, as in a closed network."),
        click.option(
            "--ice-servers",
            type=IceServers(),
            metavar="URL,…",
            help="STUN and TURN servers, which help WebRTC through NATs. Default: those in NBFERRY_ICE_SERVERS, "
            "or a public STUN server. Put secrets into the variable.",
        ),
    ):
        command = option(command)
    return command


def named_servers(options: dict[str, Any]) -> str | None:
    """The servers that ``--no-stun`` and ``--ice-servers`` name; None without both options."""
    named: str | None = options["ice_servers"]
    if options["no_stun"] and named:
        raise click.UsageError("--no-stun and --ice-servers do not go together.")
    return "" if options["no_stun"] else named


def quiet_or_json(command: AnyCommand) -> AnyCommand:
    """Add the options that choose the screen."""
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="Print only the code and errors."),
        click.option(
            "--json", "as_json", is_flag=True, help="Print one JSON object per line, and nothing else."
        ),
    ):
        command = option(command)
    return command


def common(command: AnyCommand) -> AnyCommand:
    """Add the options of every command that starts a transfer."""
    for option in (
        verbose,
        quiet_or_json,
        ice_options,
        click.option(
            "--via",
            type=click.Choice([str(via) for via in Via.choices()]),
            default=str(Via.AUTO),
            help="Path to use; the best one by default.",
        ),
        relay_option(
            "Relay to use. Default: the one in the code or in NBFERRY_RELAY, or one in this process."
        ),
    ):
        command = option(command)
    return command
