"""Ten thousand names that somebody might send to get out, to hide, or to deceive; none does (T01-T03, T08-T11)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from shutil import rmtree
from urllib.parse import quote

import pytest

from nbferry.crypto.digest import chunk_digest
from nbferry.errors import UnsafePath
from nbferry.limits import KiB
from nbferry.model.manifest import Entry, Manifest
from nbferry.model.names import OBEYED, check_paths, display_name
from nbferry.protocol.frames import ChunkData
from nbferry.storage.disk.system import REAL_DISK
from nbferry.storage.folder.sink import FolderSink

DATA = b"owned"
QUICK = replace(
    REAL_DISK, sync=lambda _: None, sync_whole=lambda _: True
)  # nothing here has to survive a crash

# fmt: off  # the lists below are for reading across
UP = [
    "..",
    "...",
    "....",
    "..;",
    ".. ",
    " ..",
    "..\t",
    "..\x00",
    "..\u200b",
    "..\u2060",
    "\uff0e\uff0e",
    "\u2024\u2024",
    "\u2025",
    "\u2026",
    "%2e%2e",
    "%252e%252e",
    "%c0%ae%c0%ae",
    "%e0%80%ae",
    "\u202e..",
    "0x2e0x2e",
    "..%00",
    ".%2e",
    ".\u0307.",
    "..::$DATA",
    "..:",
    "..~1",
    "..\ufe0f",
    ".\u200d.",
    "\udc2e\udc2e",
    "..\r",
    "..\n",
    "'..'",
    '".."',
]
SEPARATORS = [
    "/",
    "\\",
    "//",
    "\\\\",
    "/./",
    "\\.\\",
    "\u2215",
    "\u2044",
    "\uff0f",
    "\uff3c",
    "\u29f5",
    "\u29f8",
    "%2f",
    "%5c",
    "%252f",
    "%c0%af",
    "%c1%9c",
    ":",
    "/\x00/",
    "\x1f",
    "\u200b/",
    "/\u200b",
    ";/",
]
TARGETS = [
    "victim.txt",
    "etc/passwd",
    ".ssh/authorized_keys",
    ".bashrc",
    "windows\\win.ini",
    "root2/victim.txt",
    "..",
    ".",
    ".ipython/profile_default/startup/0.py",
    ".jupyter/jupyter_server_config.py",
    ".git/hooks/post-checkout",
    "proc/self/mem",
]
ROOTS = [
    "/",
    "//",
    "\\",
    "\\\\",
    "\\\\?\\",
    "\\\\.\\",
    "\\\\?\\UNC\\host\\share\\",
    "//host/share/",
    "C:",
    "C:/",
    "C:\\",
    "c:../",
    "file:///",
    "file:",
    "http://x/",
    "~/",
    "~root/",
    "$HOME/",
    "${HOME}/",
    "%USERPROFILE%\\",
    "`pwd`/",
    "$(pwd)/",
    "/./",
    "/proc/self/cwd/",
    "/proc/self/root/",
    "/dev/",
    "/dev/fd/",
    "/var/",
    "\\Device\\",
    "\\??\\",
    "@/",
    "::",
    ":/",
    "|",
    "/../",
]
NAUGHTY = [
    "undefined",
    "null",
    "NaN",
    "None",
    "True",
    "0",
    "-1",
    "1e309",
    "0x0",
    "",
    " ",
    "\t",
    "\n",
    "\x00",
    "\ufeff",
    "\u00a0",
    "\u3000",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}",
    "${7*7}",
    "%s%s%n",
    "%d%x",
    "'; DROP TABLE t; --",
    '" OR 1=1 --',
    "$(touch owned)",
    "`touch owned`",
    "; touch owned",
    "| touch owned",
    "&& touch owned",
    "a\r\nSet-Cookie: x=1",
    "\x1b[2J\x1b[H",
    "\x1b]0;title\x07",
    "\x1b]8;;http://x\x1b\\link",
    "\x9b31m",
    "\x08\x08\x08",
    "\x7f",
    "-rf",
    "--help",
    "-",
    "--",
    "*",
    "?",
    "[a-z]",
    "{a,b}",
    "!",
    "!!",
    "#",
    "&",
    "con",
    "nul",
    "aux.txt",
    "com1",
    "lpt9.csv",
    "Z\u0351\u036b\u0343a\u0346l\u0341g\u030fo",
    "\u202egpj.exe",
    "\u2066x\u2069",
    "\U0001f3f4\U000e0067\U000e007f",
    "\ud83d\udca9",
    "\u0130stanbul",
    "\u0131",
    "\u1e9e",
    "\ufb00",
    "\u01c4",
    "\uff21",
    "\u212a",
    "\u2126",
    "\u0344",
    "\u1fbe",
    "\ufdfa",
    "\ufffd",
    "desktop.ini",
    "autorun.inf",
    "Thumbs.db",
    ".DS_Store",
    "__init__.py",
    "conftest.py",
    "sitecustomize.py",
    "a.lnk",
    "a.desktop",
]
DEVICES = [
    "con",
    "prn",
    "aux",
    "nul",
    "com1",
    "com9",
    "com0",
    "lpt1",
    "com\xb9",
    "lpt\xb3",
    "conin$",
    "conout$",
]
ENDS = [
    "",
    ".",
    " ",
    "..",
    ". .",
    ".txt",
    ".tar.gz",
    " .txt",
    ":",
    "::$DATA",
    "$",
    "\t",
    "\u3000",
    "\x00",
    "/",
    "\\",
    "/x",
    "~1",
]
FRONTS = ["", "a/", "./", " ", "\t", "\u200b", "../", "A/B/C/", "..\\", "C:"]
# fmt: on


def traversals() -> Iterator[str]:
    """Every way up, by every separator, to every target, one and many levels deep."""
    for up, separator in product(UP, SEPARATORS):
        real = (
            "/" in separator or "\\" in separator
        )  # the others only look or decode like one: a few are enough
        for target in TARGETS if real else TARGETS[:2]:
            yield f"{up}{separator}{target}"
        for depth in (2, 3, 8) if real else (2,):
            yield separator.join([*[up] * depth, "victim.txt"])
            yield separator.join(["a", *[up] * depth, "victim.txt"])
    for root, target in product(ROOTS, TARGETS):
        yield root + target
        yield "a/" + root + target


def injections() -> Iterator[str]:
    """Every control, invisible and direction-changing character, at every place of a name."""
    codes = [*range(0x100), *range(0x2000, 0x2070), *range(0xFE00, 0xFE10), *range(0xFFF0, 0x10000)]
    codes += [*range(0xD800, 0xE000, 64), *range(0xE000, 0xF900, 128), *range(0xE0000, 0xE0200, 4)]
    alone = "\u034f\u061c\u115f\u1160\u17b4\u180b\u180e\u3164\ufeff\uffa0\U0001d173\U0010ffff"
    for char in (*map(chr, codes), *alone):
        yield from (f"a{char}b.csv", f"{char}.git", f".gi{char}t/hooks")
        yield from (f"x/{char}/y", f"..{char}/victim.txt", f"z{char}")


def obeyed() -> Iterator[str]:
    """Every name that programs obey, in every disguise."""
    for name, front in product(sorted(OBEYED), FRONTS):
        for disguised in (name, name.upper(), name.title(), f".\u200c{name[1:]}", f"\uff0e{name[1:]}"):
            yield f"{front}{disguised}/x"
        for end in ("\u200d", ".", " ", "~1", "::$INDEX_ALLOCATION"):
            yield f"{front}{name}{end}/x"


def everything() -> list[str]:
    """All of them, each once."""
    devices = (f"{front}{name}{end}" for front, name, end in product(FRONTS, DEVICES, ENDS))
    ends = ("", ".txt", "/x", ".")
    naughty = (f"{front}{name}{end}" for front, name, end in product(FRONTS, NAUGHTY, ends))
    encoded = (quote(name.encode("utf-8", "replace")) for name in (*UP, *ROOTS, *NAUGHTY))
    long = [
        "x" * 256,
        "é" * 128,
        "/".join("a" * 65),
        "a/" * 3000 + "b",
        "x" * 100_000,
        "/" * 5000,
        "../" * 5000,
    ]
    return list(dict.fromkeys((*traversals(), *injections(), *obeyed(), *devices, *naughty, *encoded, *long)))


HOSTILE = everything()
PARTS = 20  # of the list, each a test that a slow machine ends in time
OFFERS = (
    5  # for each part; their names are far from each other in the list, so that few are one file with another
)


def is_printable(text: str) -> bool:
    """Whether nothing in a text is obeyed by a terminal or missed by an eye, joiners in their place aside."""
    return all(char.isprintable() or char in "\u200c\u200d" for char in text)


def snapshot(folder: Path) -> dict[str, object]:
    """What is in a folder: kinds, contents, targets, times."""
    return {
        str(path.relative_to(folder)): (
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else "folder",
            path.lstat().st_mtime_ns,
        )
        for path in folder.rglob("*")
    }


def receive(paths: list[str], to: Path, transfer: str) -> None:
    """All that a receiver does with an offer, every file of which holds ``DATA``."""
    manifest = Manifest.of([Entry(path, len(DATA)) for path in paths], 4 * KiB)
    sink = FolderSink(manifest, to, transfer_id=transfer, allow_hidden=True, disk=QUICK)
    sink.prepare()
    chunk = chunk_digest(DATA)
    sink.store([ChunkData(number, chunk, memoryview(DATA)) for number in range(manifest.chunk_count)])
    sink.publish(bytes(32))
    sink.discard()


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """Make a folder with victims around the place where things are received: beside, above, by links."""
    (tmp_path / "root2").mkdir()
    for victim in ("victim.txt", "root2/victim.txt", ".bashrc"):
        (tmp_path / victim).write_bytes(b"innocent")
    (tmp_path / "link").symlink_to("root2")
    return tmp_path


def test_there_are_ten_thousand() -> None:
    """The list is as long as it claims, and every name on it is another."""
    assert len(HOSTILE) == len(set(HOSTILE)) >= 10_000


@pytest.mark.parametrize("part", range(PARTS))
def test_no_name_gets_out(sandbox: Path, part: int) -> None:
    """Each name is refused with nothing written, or lands inside the folder under exactly that name."""
    names = HOSTILE[part::PARTS]
    before = snapshot(sandbox)
    welcome = []
    for number, name in enumerate(names):
        if is_refused(name):
            with pytest.raises(UnsafePath) as caught:
                receive([name], sandbox / "root", f"t{number}")
            assert is_printable(str(caught.value))
        else:
            welcome.append(name)
    assert snapshot(sandbox) == before
    assert 0 < len(welcome) < len(names) // 2
    for start in range(OFFERS):
        land(welcome[start::OFFERS], sandbox / "root", f"t{start}")
    assert snapshot(sandbox) == before


def land(names: list[str], to: Path, transfer: str) -> None:
    """Receive harmless names together, or one by one if some collide; see that they and nothing else arrive."""
    try:
        check_paths(names, allow_hidden=True)
    except UnsafePath:
        for name in names:
            land([name], to, transfer)
        return
    receive(names, to, transfer)
    found = [path for path in to.rglob("*") if path.is_file()]
    assert sorted(path.relative_to(to).as_posix() for path in found) == sorted(names)
    assert all(path.read_bytes() == DATA for path in found)
    rmtree(to)


def test_no_name_is_dangerous_to_show() -> None:
    """Each name can be shown in a terminal, a log, a notebook: nothing raw is left in it, and it is short."""
    for name in HOSTILE:
        shown = display_name(name)
        assert is_printable(shown), ascii(name)
        assert len(shown) <= 120
        shown.encode()


def test_nothing_hidden_without_consent() -> None:
    """Without the receiver's consent nothing lands whose name begins with a dot, or that programs obey (T08)."""
    for name in HOSTILE:
        try:
            check_paths([name])
        except UnsafePath:
            continue
        assert not name.startswith(".")
        assert not {part.lower() for part in name.split("/")} & OBEYED


def test_one_bad_name_refuses_the_offer(sandbox: Path) -> None:
    """A bad name among good ones refuses them all: nothing is written, wherever it stands in the list."""
    before = snapshot(sandbox)
    for number, name in enumerate(HOSTILE[::97]):
        if is_refused(name):
            with pytest.raises(UnsafePath):
                receive(["good/a.csv", name, "good/b.csv"], sandbox / "root", f"t{number}")
    assert snapshot(sandbox) == before


def is_refused(name: str) -> bool:
    """Whether a name is refused on its own, even when hidden ones are allowed."""
    try:
        check_paths([name], allow_hidden=True)
    except UnsafePath:
        return True
    return False


def pairs() -> Iterator[tuple[str, str]]:
    """Names that differ in case, composition or invisible characters alone."""
    codes = [*range(0x41, 0x5B), *range(0xC0, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x2000)]
    for char in map(chr, codes):
        others = {char.lower(), char.casefold(), unicodedata.normalize("NFD", char), char.upper()}
        for other in others - {
            char,
            "I" if char == "\u0131" else "",
        }:  # no system takes the dotless one for I
            yield f"a{char}b", f"a{other}b"
    for code in range(0xAC00, 0xD7A4, 37):
        yield chr(code), unicodedata.normalize("NFD", chr(code))


def test_no_two_names_for_one_file(sandbox: Path) -> None:
    """A thousand pairs that some file system takes for one name are refused, whatever this one does (T09)."""
    found = list(pairs())
    assert len(found) > 1000
    for one, other in found:
        with pytest.raises(UnsafePath, match="same name"):
            receive([f"x/{one}", f"x/{other}"], sandbox / "root", "t")
    assert not (sandbox / "root").exists()
