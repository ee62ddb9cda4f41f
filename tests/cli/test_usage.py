"""Wrong input to every command gives one sentence, a hint and the right exit code, and writes nothing."""

from __future__ import annotations

import json
import socket

import pytest

from network.stun import StunServer
from running import COMMAND, Commands, read_event

NOWHERE = "http://127.0.0.1:1/"

WRONG_USAGE = [
    (["bogus"], "No such command 'bogus'."),
    (["send"], "Missing argument"),
    (["send", "--bogus", "x"], "No such option '--bogus'"),
    (["send", "x", "--expires", "soon"], "'soon' is not a duration; write 90, 45s, 10min, 1h or 2d"),
    (["send", "x", "--expires", "0"], "'0' is not a duration"),
    (["send", "x", "--keep", "ever"], "'ever' is not a duration"),
    (["receive", "--keep", "-1"], "'-1' is not a duration"),
    (["send", "x", "--expires", "9" * 400], "is not a duration"),
    (["send", "x", "--via", "carrier-pigeon"], "'carrier-pigeon' is not one of"),
    (
        ["send", "x", "--ice-servers", "http://x"],
        "an ICE server is written stun:host:port, turn:user:secret@",
    ),
    (["receive", "c", "--ice-servers", "turn:x"], "the TURN server at x needs a user name and a secret"),
    (
        ["send", "x", "--no-stun", "--ice-servers", "stun:x"],
        "--no-stun and --ice-servers do not go together.",
    ),
    (["doctor", "--ice-servers", "stun:"], "an ICE server is written"),
    (["send", "x", "--code-length", "2"], "2 is not in the range"),
    (["send", "x", "--relay", "garbage"], "This is not a valid relay address."),
    (["send", "x", "--relay", "http://user:secret@host/"], "This is not a valid relay address."),
    (["receive", "c", "--relay", "ftp://host/"], "This is not a valid relay address."),
    (["receive", "c", "--overwrite", "always"], "'always' is not one of"),
    (["receive", "c", "--to", "x"], "Directory 'x' is a file."),
    (["receive", "c", "d"], "Got unexpected extra argument (d)."),
    (["receive"], "No code was given"),
    (["relay", "--port", "65536"], "65536 is not in the range"),
    (["relay", "--port", "http"], "'http' is not a valid integer"),
    (["doctor", "--relay", "garbage"], "This is not a valid relay address."),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG_USAGE, ids=lambda value: "_".join(value)[:40])
def test_wrong_usage(nbferry: Commands, arguments: list[str], says: str) -> None:
    """Wrong usage ends with exit code 2, one line about the mistake and one about help."""
    nbferry.file("a/x", b"x")
    code, text = nbferry(*arguments, folder="a").failure()
    assert code == 2
    assert text.startswith("Error: ")
    assert says in text
    assert text.endswith(" --help.")
    assert text.isprintable()
    assert [path.name for path in (nbferry.root / "a").iterdir()] == ["x"]


def test_no_command(nbferry: Commands) -> None:
    """Without a command the help is printed to stderr, with exit code 2."""
    code, text = nbferry().failure()
    assert code == 2
    assert text.startswith("Usage: nbferry")


def test_wrong_usage_as_json(nbferry: Commands) -> None:
    """With --json wrong usage is an error event on stdout, and stderr stays empty."""
    command = nbferry("send", "--json")
    assert command.end() == 2
    assert command.errors == []
    (event,) = command.events()
    assert event["code"] == "usage"
    assert event["hint"] == "See nbferry send --help."


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("NBFERRY_HOST", "localhost", "NBFERRY_HOST must be an IP address, not 'localhost'."),
        ("NBFERRY_RELAY", "garbage", "NBFERRY_RELAY: This is not a valid relay address."),
        ("NBFERRY_ICE_SERVERS", "garbage", "NBFERRY_ICE_SERVERS: an ICE server is written stun:host:port"),
    ],
)
def test_a_wrong_environment(nbferry: Commands, name: str, value: str, says: str) -> None:
    """An invalid variable is wrong usage, too."""
    nbferry.file("a/x", b"x")
    code, text = nbferry("send", "x", folder="a", **{name: value}).failure()
    assert code == 2
    assert says in text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nothing", 'There is no file or folder "nothing".'),
        ("\x1b[31mred", 'There is no file or folder "\\x1b[31mred".'),
        ("x/below", 'There is no file or folder "x/below".'),
        ("n" * 300, "failed: File name too long."),
        ("/", '"/" is a whole file system.'),
        ("/dev/null", '"/dev/null" is not a file: it is a pipe, a socket or a device.'),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_path_that_cannot_be_sent(nbferry: Commands, path: str, says: str) -> None:
    """A path that cannot be sent ends with exit code 1 and a plain sentence, also as JSON."""
    nbferry.file("a/x", b"x")
    plain, as_json = nbferry("send", path, folder="a"), nbferry("send", path, "--json", folder="a")
    code, text = plain.failure()
    assert code == 1
    assert says in text
    assert text.isprintable()
    assert (as_json.end(), as_json.errors) == (1, [])
    error = as_json.events()[-1]
    assert says in error["message"]
    assert error["hint"]


def test_two_files_of_one_name(nbferry: Commands) -> None:
    """Two files with the same name cannot be sent together."""
    nbferry.file("a/x", b"x")
    nbferry.file("a/deeper/x", b"y")
    code, text = nbferry("send", "x", "deeper/x", folder="a").failure()
    assert code == 1
    assert "have the same name" in text


@pytest.mark.parametrize("command", ["send", "receive"])
def test_a_relay_that_does_not_answer(nbferry: Commands, command: str) -> None:
    """A relay that does not answer ends with exit code 1, one sentence and a hint."""
    nbferry.file("a/x", b"x")
    arguments = (
        ["send", "x", "--relay", NOWHERE] if command == "send" else ["receive", f"123456-a-b-c@{NOWHERE}"]
    )
    arguments[1] = arguments[1].replace("-a-b-c", "-amber-canyon-tulip")
    plain, as_json = nbferry(*arguments, folder="a"), nbferry(*arguments, "--json", folder="a")
    assert plain.failure() == (
        1,
        "Error: 127.0.0.1:1 cannot be reached (connection refused). "
        "Check the address and the network, and that the other side or the relay is running.",
    )
    assert as_json.end() == 1
    error = as_json.events()[-1]
    assert (error["code"], error["retryable"]) == ("connect-failed", True)


def test_a_web_server_instead_of_a_relay(nbferry: Commands, web_server: str) -> None:
    """A server that is no relay ends with exit code 1 and a message about it."""
    nbferry.file("a/x", b"x")
    code, text = nbferry("send", "x", "--relay", web_server, folder="a").failure()
    assert code == 1
    assert "is no nbferry relay (HTTP 404)" in text


def test_a_port_that_is_taken(nbferry: Commands) -> None:
    """A relay whose port is in use ends with exit code 1 and a hint."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert nbferry("relay", "--port", str(port)).failure() == (
            1,
            f"Error: No relay can listen on 127.0.0.1:{port} (Address already in use). "
            "Choose another port or address.",
        )


@pytest.mark.parametrize("host", ["300.300.300.300", "192.0.2.1", "a" * 100, "not a host"])
def test_an_address_of_another_machine(nbferry: Commands, host: str) -> None:
    """A relay on another machine's address, or on none, ends with exit code 1."""
    code, text = nbferry("relay", "--port", "0", "--host", host).failure()
    assert code == 1
    assert text.startswith(f"Error: No relay can listen on {host}:0 (")


def test_a_folder_that_cannot_be_made(nbferry: Commands) -> None:
    """A destination below a file ends with exit code 1 on both sides."""
    nbferry.file("a/x", b"x")
    nbferry.file("b/file", b"")
    sender = nbferry("send", "x", "--json", folder="a")
    receiver = nbferry("receive", sender.code(), "--to", "file/below", "--json", folder="b")
    assert (receiver.end(), sender.end()) == (1, 1)
    assert [path.name for path in (nbferry.root / "b").iterdir()] == ["file"]
    assert receiver.events()[-1]["hint"]


def test_the_version(nbferry: Commands) -> None:
    """--version prints the version."""
    command = nbferry("--version")
    assert command.end() == 0
    assert command.lines == ["nbferry, version 0.1.0"]


@pytest.mark.parametrize(
    "statement", ["import nbferry", "import nbferry.cli.main; nbferry.cli.main.cli(['--help'])"]
)
def test_imports_are_quick(nbferry: Commands, statement: str) -> None:
    """``import nbferry`` and the help load no slow library."""
    heavy = (
        "tornado",
        "picows",
        "cryptography",
        "rich",
        "blake3",
        "spake2",
        "asyncio",
        "aiortc",
        "jupyter_core",
    )
    program = f"""
import sys
try:
    {statement}
except SystemExit:
    pass
print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
    command = nbferry(program=program)
    assert command.end() == 0
    assert command.errors == ["[]"]


def test_doctor(nbferry: Commands) -> None:
    """Doctor ends with exit code 0 if all is well, and lists its checks."""
    _, url = nbferry.relay()
    enabled = {"ServerApp": {"jpserver_extensions": {"nbferry.jupyter": True}}}
    nbferry.file("etc/jupyter_server_config.d/nbferry.json", json.dumps(enabled).encode())
    config = {"JUPYTER_CONFIG_PATH": str(nbferry.root / "etc")}
    with StunServer() as stun:
        command = nbferry("doctor", "--relay", url, "--ice-servers", stun.url, **config)
        assert command.end() == 0, command.said()
    looked_at = [line.partition(": ")[0].removeprefix("ok    ") for line in command.lines]
    assert looked_at == [
        "nbferry",
        "direct connections",
        "relay",
        "UDP",
        stun.url,
        "NAT",
        "Jupyter extension",
        "this folder",
        "hashing and sealing",
    ]


@pytest.mark.parametrize(
    ("extension", "says"),
    [
        ('{"ServerApp": {"jpserver_extensions": {"nbferry.jupyter": false}}}', "disabled by"),
        ("[]", "cannot be read"),
        ("not JSON", "cannot be read"),
    ],
)
def test_doctor_finds_fault(nbferry: Commands, extension: str, says: str) -> None:
    """Doctor ends with exit code 1 if a check fails, and still makes the other checks."""
    nbferry.file("etc/jupyter_server_config.d/nbferry.json", extension.encode())
    config = {"JUPYTER_CONFIG_PATH": str(nbferry.root / "etc")}
    command = nbferry("doctor", NBFERRY_RELAY=NOWHERE, NBFERRY_ICE_SERVERS="", **config)
    assert command.end() == 1
    assert f"FAIL  relay: {NOWHERE} does not answer as an nbferry relay" in command.lines
    assert any(line.startswith("FAIL  Jupyter extension: ") and says in line for line in command.lines)
    assert len([line for line in command.lines if line.startswith(("ok  ", "FAIL"))]) == 7


def test_doctor_gives_advice(nbferry: Commands) -> None:
    """Doctor prints advice below each failed check, and no secret."""
    nowhere = "turn:anna:hush-hush@127.0.0.1:9?transport=tcp"
    command = nbferry("doctor", "--ice-servers", nowhere)
    assert command.end() == 1
    wrong = [number for number, line in enumerate(command.lines) if line.startswith("FAIL")]
    assert wrong
    assert all(command.lines[number + 1].startswith("      -> ") for number in wrong)
    assert "hush-hush" not in command.said()


@pytest.mark.parametrize(
    "arguments",
    [["send", "x"], ["receive", "482913-amber-canyon-tulip@http://127.0.0.1:1/"], ["doctor"]],
    ids=lambda value: value[0],
)
def test_a_secret_is_not_repeated(nbferry: Commands, arguments: list[str]) -> None:
    """The message about a wrong TURN server does not show its secret."""
    nbferry.file("a/x", b"x")
    wrong = "turn:anna:hush-hush@turn.example:99999"
    for how in ({"NBFERRY_ICE_SERVERS": wrong}, {}):
        named = [] if how else ["--ice-servers", wrong]
        code, text = nbferry(*arguments, *named, folder="a", **how).failure()
        assert code == 2
        assert "hush-hush" not in text


def test_a_reader_that_leaves(nbferry: Commands) -> None:
    """A sender whose output is closed ends quietly with exit code 1."""
    nbferry.file("a/x", b"x")
    program = "import os; r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w); " + COMMAND
    command = nbferry("send", "x", "--json", program=program, folder="a")
    assert command.failure() == (1, "")


def test_no_stdin(nbferry: Commands) -> None:
    """Without stdin a missing code is wrong usage."""
    program = "import os, sys; os.close(0); sys.stdin = None; " + COMMAND
    code, text = nbferry("receive", program=program).failure()
    assert code == 2
    assert "No code was given" in text


def test_a_terminal_with_ascii_only(nbferry: Commands) -> None:
    """A name outside the output's encoding is shown escaped."""
    nbferry.file("a/\u0434\u0430\u0442\u0430", b"x")
    sender = nbferry("send", "\u0434\u0430\u0442\u0430", "-q", folder="a", PYTHONIOENCODING="ascii")
    code = sender.line()
    assert code
    receiver = nbferry("receive", code, folder="b", PYTHONIOENCODING="ascii")
    assert (receiver.end(), sender.end()) == (0, 0)
    assert "Received \\u0434\\u0430\\u0442\\u0430: 1 B" in receiver.said()


def test_every_line_is_an_event() -> None:
    """The check of events itself refuses an extra field and an unknown name."""
    with pytest.raises(AssertionError):
        read_event('{"event": "code", "code": "c", "secret": 1}')
    with pytest.raises(KeyError):
        read_event('{"event": "guess"}')
