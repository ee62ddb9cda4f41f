"""Accepted and refused names, by the rows of the list of threats, and how names are shown."""

from __future__ import annotations

import unicodedata

import pytest

from nbferry.errors import UnsafePath
from nbferry.model.names import (
    MAX_DEPTH,
    MAX_NAME,
    MAX_PATH,
    OBEYED,
    STATE_FOLDER,
    check_paths,
    display_name,
    is_obeyed,
)


def refused(*paths: str, folders: frozenset[str] = frozenset(), allow_hidden: bool = False) -> str:
    """The reason why an offer of these paths is refused; the test fails if it is not."""
    with pytest.raises(UnsafePath) as caught:
        check_paths(paths, folders=folders, allow_hidden=allow_hidden)
    return caught.value.message


REAL_NAMES = [
    "trips.parquet",
    "data/year=2024/month=01/part-0.snappy.parquet",
    "store.zarr/.zattrs",
    "store.zarr/temperature/.zarray",
    "project/.gitignore",
    "project/.ipynb_checkpoints/a-checkpoint.ipynb",
    "Untitled (1).ipynb",
    " leading space.txt",
    "it's 100% of [x] & y; #1, a+b=c @home ~ !.md",
    "~backup",
    "-rf",
    "a..b",
    "CONfig.txt",
    "console.log",
    "com10.dat",
    "nullable.csv",
    "2024-01-01T10.00.00Z.json",
    "Screenshot 2024-01-01 at 3.04.05\u202fPM.png",  # as macOS names them
    "Übergrößenträger.csv",
    "Ubergro\u0308ße.csv",
    "данные/поездки.csv",
    "数据/行程 表.xlsx",
    "データ\u3000表.csv",
    "데이터/여행.csv",
    "葛\U000e0100飾区.csv",  # one of two forms of the character, by a variation selector
    "نتائج.csv",
    "می\u200cخندیم.txt",  # Persian cannot do without this joiner
    "क्\u200dष.csv",
    "ක්\u200dෂ.txt",
    "ന്\u200d.txt",  # Malayalam: after a virama, at the end of a word
    "🚀 results ❤️\u200d🔥.md",
    "👩\u200d💻/👨\u200d👩\u200d👧/1️⃣.txt",
    "🙂\u200d↔️.png",
    "⚠️ read me.txt",
    "x" * MAX_NAME,
    "é" * (MAX_NAME // 2),
    "/".join(["d"] * MAX_DEPTH),
    "/".join(["n" * 100] * 40),
]


@pytest.mark.parametrize("path", REAL_NAMES, ids=ascii)
def test_real_names_are_accepted(path: str) -> None:
    """Names that people and programs give to data are accepted in any script."""
    check_paths([path])


def test_many_together() -> None:
    """An offer of all of them is accepted, with folders before or after their content, or not listed."""
    check_paths(REAL_NAMES)
    check_paths(["data", "data/a", "data/empty"], folders={"data", "data/empty"})
    check_paths(["data/a", "data/empty", "data"], folders={"data", "data/empty"})
    check_paths([])


@pytest.mark.parametrize(
    "path",
    [
        *("..", "../x", "a/../b", "a/..", "../../../../etc/passwd", "a/b/../../..", "...", "a/.../b"),
        *("/", "/etc/passwd", "//server/share/x", "a//b", "a///b"),
        *("\\x", "a\\b", "..\\x", "a/..\\..\\x", "\\\\server\\share\\x", "\\\\?\\C:\\x", "\\\\.\\nul"),
        *("C:", "C:x", "C:/x", "C:\\x", "C:../x", "c:..\\x", "a/C:/x", "file:///etc/passwd"),
    ],
    ids=ascii,
)
def test_t01_no_way_out(path: str) -> None:
    """T01: traversal, absolute, drive-relative and UNC paths are refused, with either separator."""
    assert "safe name" in refused(path)


def test_t02_containment_is_not_a_prefix() -> None:
    """T02: a path is judged part by part, so a sibling that shares a prefix cannot be reached."""
    assert ".." in refused("root/../root2/x")
    check_paths(["root/x", "root2/x"])


@pytest.mark.parametrize(
    "path", ["", ".", "./", "./a", "a/.", "a/./b", "a/", "a/b/", "a//", " ", ".. ", ". ."], ids=ascii
)
def test_t03_no_empty_parts(path: str) -> None:
    """T03: empty, ".", ".." as any part and a trailing slash are refused."""
    refused(path)


@pytest.mark.parametrize(
    "name", [".bashrc", ".ssh/authorized_keys", ".x", ".gitignore", ".config/autostart/x", ".a/b"]
)
def test_t08_hidden_names(name: str) -> None:
    """T08: no hidden name lands at the top of the folder unless the receiver allows it."""
    refused(name)
    check_paths([name], allow_hidden=True)


@pytest.mark.parametrize("name", sorted(OBEYED - {STATE_FOLDER}))
def test_t08_names_with_effects(name: str) -> None:
    """T08: names that programs obey are refused at any depth and in any case, unless allowed."""
    for path in (name, f"a/{name}", f"a/b/{name}/c", f"a/{name.upper()}", f"a/{name.title()}"):
        refused(path)
    check_paths([f"a/{name}"], allow_hidden=True)
    assert is_obeyed(name)
    assert not is_obeyed(name + "x")


@pytest.mark.parametrize(
    "path", [STATE_FOLDER, f"{STATE_FOLDER}/x", f"a/{STATE_FOLDER}", ".NBFerry", ".nbferr\u0079"]
)
def test_t08_our_own_state(path: str) -> None:
    """T08: a peer never writes to nbferry's own state, even if hidden names are allowed."""
    refused(path)
    assert "own files" in refused(path, allow_hidden=True)


@pytest.mark.parametrize(
    "name",
    [".g\u200cit", ".gi\u200dt", "\ufeff.git", ".git\u200d", ".g\u00adit", ".\ufe0fgit", ".g\u034fit"],
    ids=ascii,
)
def test_t08_ignorable_characters_hide_nothing(name: str) -> None:
    """T08, T09: HFS+ drops invisible characters, so they cannot smuggle `.git` in (CVE-2014-9390)."""
    refused(name)
    refused(f"a/{name}", allow_hidden=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.txt", "A.TXT"),
        ("Data/x", "data/y"),
        ("a/B/c", "a/b/d"),
        ("é.txt", "e\u0301.txt"),
        ("\u212b", "\u00c5"),  # the sign of the unit, and the letter
        ("\u1e9b\u0323", "\u1e69"),
        ("straße", "STRASSE"),
        ("ﬁle", "file"),
        ("\u017fet", "set"),
        ("K.csv", "k.csv"),  # the Kelvin sign
        ("ΣΑΣ", "σας"),
        ("می\u200cخ", "میخ"),
        ("❤️", "❤"),
        ("葛\U000e0100", "葛"),
        ("한.txt", unicodedata.normalize("NFD", "한.txt")),
    ],
    ids=ascii,
)
def test_t09_collisions(one: str, other: str) -> None:
    """T09: two names that some file system treats as one are refused, and the message has both."""
    for first, second in ((one, other), (other, one)):
        message = refused(first, second)
        assert "same name" in message
        assert message.count('"') == 4


def test_t09_collisions_between_folders() -> None:
    """T09: folders collide like files, listed or implied."""
    refused("Data", "data", folders=frozenset({"Data", "data"}))
    refused("Data", "data/x", folders=frozenset({"Data"}))
    refused("x/Data/1", "x/y/2", "x/data/3")


def test_t09_twice() -> None:
    """T09: a path is offered only once."""
    assert "twice" in refused("a", "b", "a")
    assert "twice" in refused("d", "d", folders=frozenset({"d"}))


@pytest.mark.parametrize("paths", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b"), ("a/b", "a/b/c")])
def test_t09_file_and_folder(paths: tuple[str, str]) -> None:
    """T09: a path is not both a file and a folder."""
    assert "both a file and a folder" in refused(*paths)


STEMS = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
PORTS = [f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789\xb9\xb2\xb3"]


@pytest.mark.parametrize("name", [*STEMS, *PORTS])
def test_t10_reserved_by_windows(name: str) -> None:
    """T10: device names are refused in any case, at any depth, with any extension, with spaces before it."""
    for path in (
        name,
        name.lower(),
        f"a/{name}",
        f"{name}/a",
        f"{name}.txt",
        f"{name}.tar.gz",
        f"{name} .txt",
        f"{name}.",
    ):
        refused(path)
    check_paths([f"x{name}", f"{name}x", f"a.{name}"])


@pytest.mark.parametrize(
    "name",
    ["a.", "a ", "a. ", "a .", "a..", "a/b./c", "a/b /c", "a\u3000", "a\u00a0", "a\t", "a\n"],
    ids=ascii,
)
def test_t10_trailing_dots_and_spaces(name: str) -> None:
    """T10: Windows drops dots and spaces at the end, which changes the name."""
    refused(name)


@pytest.mark.parametrize("char", '\\:<>"|?*')
def test_t10_characters_windows_refuses(char: str) -> None:
    """T10: alternate data streams, wildcards and the like are refused everywhere."""
    for path in (f"a{char}b", char, f"{char}a", f"a{char}", f"x/a{char}b/y", f"a{char}$DATA"):
        refused(path)


@pytest.mark.parametrize(
    "name", ["GIT~1", "git~2", "NBFERR~1", "PROGRA~1", "a~1.txt", "x/GIT~1/y", "gi7eba~1", "A~123456.B"]
)
def test_t10_short_names(name: str) -> None:
    """T10: a Windows short name may stand for any other file (CVE-2019-1352)."""
    refused(name)


@pytest.mark.parametrize("name", ["a~", "a~b", "~1", "notshort~1", "a~1.jpeg", "v~1.2.3"])
def test_t10_no_short_names(name: str) -> None:
    """T10: a tilde alone is harmless."""
    check_paths([name])


def test_t10_lengths() -> None:
    """T10: 255 bytes in a part, 4,096 in all, 64 parts; the first excess is reported."""
    assert "255 bytes" in refused("x" * (MAX_NAME + 1))
    assert "255 bytes" in refused("é" * 128)
    assert "255 bytes" in refused("a/" + "x" * (MAX_NAME + 1) + "/b")
    assert "4,096 bytes" in refused("/".join(["n" * 240] * 18))
    assert "64 folders" in refused("/".join(["a"] * (MAX_DEPTH + 1)))
    assert len("/".join(["n" * 240] * 17)) <= MAX_PATH


CONTROLS = [*map(chr, range(0x20)), "\x7f", *map(chr, range(0x80, 0xA0))]
DIRECTIONS = [*"\u061c\u200e\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))]
UNSEEN = [
    *"\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2028\u2029\u2060\u2064\u206a\u206f\u2800\u3164\ufeff\uffa0",
    *"\ufff9\ufffb\ufffe\uffff\ufdd0\uf022\U0001d173\U0001bca0\U000e0001\U000e0041\U000e007f\U0010ffff",
]


@pytest.mark.parametrize("char", [*CONTROLS, *DIRECTIONS, *UNSEEN], ids=ascii)
def test_t11_invisible_characters(char: str) -> None:
    """T11: control, direction-changing, invisible characters and surrogates are refused, and shown escaped."""
    for path in (f"a{char}b", f"{char}a", f"a{char}", f"x/a{char}b/y", char, f"日{char}本"):
        assert char not in refused(path)
    shown = display_name(f"a{char}b")
    assert char not in shown
    assert shown.startswith("a\\")
    assert shown.isprintable()


STRAY = [
    *("a\u200db", "a\u200cb", "\u200dx", "\u200d", "a\ufe0f", "1\ufe0f", "\ufe0f", "x\U000e0100", " \u200d "),
    *("é\u200d", "é\u200d.txt", "é\u200d\u200dé", "क\u200d", "日\u200c", "❤\ufe0f\ufe0f", "\u200d\ufe0fé"),
]


@pytest.mark.parametrize("name", STRAY, ids=ascii)
def test_t11_joiners_that_join_nothing(name: str) -> None:
    """T11: a joiner is refused where no script needs it, and shown escaped there."""
    refused(name)
    assert display_name(name).isascii() or "\\u" in display_name(name)


@pytest.mark.parametrize("surrogate", [*map(chr, (0xD800, 0xDBFF, 0xDC80, 0xDFFF))], ids=ascii)
def test_t11_surrogates(surrogate: str) -> None:
    """T11: a name that is not Unicode, such as an undecodable one, is refused and can be shown."""
    assert "Unicode" in refused(f"a{surrogate}")
    display_name(f"a{surrogate}").encode()


@pytest.mark.parametrize("name", ["می\u200cخندیم", "क्\u200dष", "❤️\u200d🔥", "1️⃣", "葛\U000e0100"], ids=ascii)
def test_t11_joiners_that_join_are_shown(name: str) -> None:
    """T11: a name that needs joiners is shown as it is."""
    assert display_name(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain.csv", "plain.csv"),
        ("données 数据.csv", "données 数据.csv"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
        ("invoice\u202efdp.exe", "invoice\\u202efdp.exe"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("a\u00a0b", "a\\xa0b"),
        ("", ""),
    ],
    ids=ascii,
)
def test_t11_display(name: str, shown: str) -> None:
    """T11: printable characters stay, others are escaped."""
    assert display_name(name) == shown


def test_t11_display_shortens_the_middle() -> None:
    """T11: a long name keeps its start and end, and no escape is cut."""
    assert display_name("a" * 100 + ".csv", 21) == "a" * 10 + "…" + "a" * 6 + ".csv"
    assert display_name("\x1b" * 1000, 20) == "\\x1b\\x1b…\\x1b\\x1b"
    assert len(display_name("x" * 10_000_000)) == 120


def test_the_message_says_what_and_why() -> None:
    """A refusal names the path, the reason and the advice, in one line that is safe to print."""
    with pytest.raises(UnsafePath) as caught:
        check_paths(["fine", "folder/ev\x1bil"])
    text = str(caught.value)
    assert (
        text
        == '"folder/ev\\x1bil" is not a safe name: it contains a control character. Ask the sender to rename the file.'
    )
