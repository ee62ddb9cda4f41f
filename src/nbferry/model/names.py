r"""Names from a peer are hostile: they are judged here, once, and by the same rules on every platform.

    for each path of an offer
        relative, parts joined by "/", at most 4,096 bytes and 64 parts deep
        for each part: no control, invisible or direction-changing character, none of \ : < > " | ? *,
            not empty, "." or "..", no dot or space at its end, at most 255 bytes of UTF-8,
            nothing that Windows reserves or could take for another name
        no hidden name at the top, and nowhere one that programs obey without being asked
    no two paths that some file system takes for the same

An offer is refused as a whole, before a byte is written. No name is ever "cleaned" into another.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable

from nbferry.errors import UnsafePath

MAX_NAME = 255  # bytes of UTF-8 in one part, as on Linux; never more than the 255 UTF-16 units of others
MAX_PATH = 4096  # bytes of a whole path
MAX_DEPTH = 64  # parts of a path

STATE_FOLDER = ".nbferry"  # our own record of unfinished transfers; a peer must never write there

OBEYED = frozenset(
    {
        STATE_FOLDER,
        *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile"),  # shells run them
        *(".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".cshrc", ".tcshrc", ".login"),
        *(".ipython", ".jupyter", ".pythonrc", ".pythonrc.py", ".pdbrc", ".rprofile", ".renviron"),  # kernels
        *(".git", ".hg", ".gitconfig", ".envrc"),  # hooks and settings that name programs to run
        *(".ssh", ".gnupg", ".netrc", ".rhosts", ".shosts", ".forward", ".k5login"),  # let somebody in
    }
)
"""Hidden names that programs obey without being asked, at any depth, in lower case."""

# Code points that can be in a name and not be seen, or that turn the direction of what follows: Unicode's
# Default_Ignorable_Code_Point and Bidi_Control, line and paragraph separators, blanks, noncharacters, and the
# private ones that stand for ":" and the like on SMB and WSL mounts.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\uf000-\uf0ff\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000))
)
# Invisible too, but Persian, Hindi, Mongolian, Japanese names and emoji cannot be written without them.
_VARIATIONS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_JOINERS = "\u200c\u200d" + _VARIATIONS

_VARIATION = re.compile(f"[{_VARIATIONS}]")
_JOINER = re.compile(f"[{_JOINERS}]")
_IGNORED = re.compile(f"[{_JOINERS}{_INVISIBLE}]")
_UNSEEN = re.compile(f"[{_INVISIBLE}]")
_VIRAMA = 9  # the combining class of the signs that join two Indic consonants

_ORDINARY = re.compile(r"[A-Za-z0-9_-]{5,60}(\.[A-Za-z0-9_-]{1,20}){0,3}")  # breaks no rule below; saves time
_RULES = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (r"\A\.{0,2}\Z", 'a part of it is empty, "." or ".."'),
        ("[\ud800-\udfff]", "it is not valid Unicode"),
        (r"[\x00-\x1f\x7f-\x9f]", "it contains a control character"),
        (r'[\\:<>"|?*]', 'it contains one of \\ : < > " | ? *'),
        (_UNSEEN.pattern, "it contains an invisible or direction-changing character"),
        (r"[.\s]\Z", "a part of it ends with a dot or a space"),
        # learn.microsoft.com, "Naming Files, Paths, and Namespaces"; an extension does not help
        (r"(?i)\A(con|prn|aux|nul|con(in|out)\$|(com|lpt)[0-9\xb9\xb2\xb3]) *(\.|\Z)", "Windows reserves it"),
        # GIT~1 is .git on NTFS: CVE-2019-1352
        (r"\A[^.]{1,6}~[0-9]{1,6}(\.[^.]{0,3})?\Z", "Windows may take it for the short form of another name"),
    )
)


def check_paths(
    paths: Iterable[str], *, folders: Container[str] = frozenset(), allow_hidden: bool = False
) -> None:
    """Judge all paths of an offer; those in ``folders`` are folders. What is above a path need not be listed.

    Raises :class:`UnsafePath` for the first that is unsafe, and for two that some file system takes for one.
    ``allow_hidden`` lets hidden names through, except our own.
    """
    tree = _Tree(allow_hidden)
    for path in paths:
        tree.add(path, "folder" if path in folders else "file")


def is_obeyed(name: str) -> bool:
    """Whether programs obey a file or folder of this name without being asked, as Git does with ``.git``."""
    return _key(name) in OBEYED


def display_name(name: str, most: int = 120) -> str:
    r"""Make a name safe to print: what cannot be seen becomes ``\x1b`` or ``\u202e``.

    At most ``most`` characters: of a longer name the middle is left out. Joiners stay where ``check_paths``
    allows them, because Persian or Hindi cannot be read without.
    """
    if len(name) > 2 * most:
        name = name[:most] + name[-most:]
    shown = [_shown(name, at) for at in range(len(name))]
    if sum(map(len, shown)) <= most:
        return "".join(shown)
    head, tail = (most - 1) // 2, most - 1 - (most - 1) // 2
    return _upto(shown, head) + "\u2026" + _upto(shown[::-1], tail, reverse=True)


def _upto(shown: list[str], most: int, *, reverse: bool = False) -> str:
    """As many whole characters from the start as fit, so that no escape is cut in two."""
    taken: list[str] = []
    for text in shown:
        most -= len(text)
        if most < 0:
            break
        taken.append(text)
    return "".join(reversed(taken) if reverse else taken)


def _shown(name: str, at: int) -> str:
    char = name[at]
    if _JOINER.match(char):
        return char if _joins(name, at) else _escape(char)
    return char if char.isprintable() and not _UNSEEN.match(char) else _escape(char)


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class _Tree:
    """The paths that were judged so far, by the key under which file systems may confuse them."""

    def __init__(self, allow_hidden: bool) -> None:
        self._allow_hidden = allow_hidden
        self._folder_keys = {"": ""}
        self._taken: dict[str, tuple[str, str]] = {}  # key -> (path, kind)

    def add(self, path: str, kind: str) -> None:
        """Judge one path that is a "file" or a "folder" of the offer."""
        if path.startswith("/"):
            raise _unsafe(path, "it is not relative")
        if path.count("/") >= MAX_DEPTH:
            raise _unsafe(path, f"it is more than {MAX_DEPTH} folders deep")
        if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
            raise _unsafe(path, f"it is longer than {MAX_PATH:,} bytes")
        self._place(path, kind)

    def _place(self, path: str, kind: str) -> str:
        """Judge the last part of a path, after those above it; its collision key."""
        above, _, name = path.rpartition("/")
        above_key = self._folder_keys.get(above)
        if above_key is None:
            above_key = self._place(above, "implied")
        if not _ORDINARY.fullmatch(name) and (why := _fault(name) or self._hidden_fault(name, top=not above)):
            raise _unsafe(path, why)
        key = f"{above_key}/{_key(name)}"
        self._claim(key, path, kind)
        if kind != "file":
            self._folder_keys[path] = key
        return key

    def _claim(self, key: str, path: str, kind: str) -> None:
        """Take a key for a path, unless another has it or this one has it as something else."""
        other, other_kind = self._taken.setdefault(key, (path, ""))
        if other != path:
            both = f'"{display_name(other)}" and "{display_name(path)}"'
            raise UnsafePath(f"{both} are the same name on some computers.")
        if other_kind == kind:
            raise _unsafe(path, "it is offered twice")
        if other_kind and "file" in (kind, other_kind):
            raise _unsafe(path, "it is both a file and a folder")
        self._taken[key] = (path, kind)

    def _hidden_fault(self, name: str, *, top: bool) -> str:
        key = _key(name)
        if key == STATE_FOLDER:
            return "it is where nbferry keeps its own files"
        if self._allow_hidden:
            return ""
        if key in OBEYED:
            return "programs obey what is in such a file or folder"
        return "it is hidden" if top and name.startswith(".") else ""


def _fault(name: str) -> str:
    """Why no file may have this name; empty if it may."""
    for pattern, why in _RULES:
        if pattern.search(name):
            return why
    if len(name.encode()) > MAX_NAME:
        return f"a part of it is longer than {MAX_NAME} bytes"
    if any(not _joins(name, found.start()) for found in _JOINER.finditer(name)):
        return "it contains an invisible character where no script needs one"
    return ""


def _joins(name: str, at: int) -> bool:
    """Whether the joiner at this place does its work: to shape letters or emoji.

    After RFC 5892, appendix A: between two such characters, or after a virama. ASCII never needs one, but for
    the digit in a keycap emoji.
    """
    before, after = name[at - 1 : at], name[at + 1 : at + 2]
    if _VARIATION.match(name[at]):
        return _is_shaped(before) or (after == "\u20e3" and before in "0123456789#")
    if _VARIATION.match(before):
        before = name[at - 2 : at - 1]
    return _is_shaped(before) and (_is_shaped(after) or unicodedata.combining(before) == _VIRAMA)


def _is_shaped(char: str) -> bool:
    """Whether this is a visible character beyond ASCII; "Cn" is an emoji that is newer than this Python."""
    if char <= "\x7f" or _JOINER.match(char):
        return False
    category = unicodedata.category(char)
    return category[0] in "LMNPS" or category == "Cn"


def _key(name: str) -> str:
    """Reduce a name to what all file systems tell apart: no joiners, no case, one composition."""
    if name.isascii():
        return name.lower()
    seen = unicodedata.normalize("NFD", _IGNORED.sub("", name)).casefold()
    return unicodedata.normalize("NFD", seen)  # casefolding undoes it: Unicode 15, definition D145


def _unsafe(path: str, why: str) -> UnsafePath:
    return UnsafePath(f'"{display_name(path)}" is not a safe name: {why}.')
