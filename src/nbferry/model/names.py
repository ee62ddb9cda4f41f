r"""Names from a peer are hostile: this module checks them once, by the same rules on every platform.

    for each path of an offer
        relative, parts joined by "/", at most 4,096 bytes and 64 parts deep
        for each part: no control, invisible or direction-changing character, none of \ : < > " | ? *,
            not empty, "." or "..", no dot or space at its end, at most 255 bytes of UTF-8,
            nothing that Windows reserves or could mistake for another name
        no hidden name at the top, and at no depth a name that programs act on without asking
    no two paths that some file system treats as the same

An offer is refused as a whole, before a byte is written. No name is ever "cleaned" into another.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterable

from nbferry.errors import UnsafePath

MAX_NAME = 255
"""Bytes of UTF-8 in one part, as on Linux; never more than the 255 UTF-16 units of other systems."""
MAX_PATH = 4096
"""Bytes of a whole path."""
MAX_DEPTH = 64
"""Parts of a path."""

STATE_FOLDER = ".nbferry"
"""Our own records of unfinished transfers; a peer must never write there."""

OBEYED = frozenset(
    {
        STATE_FOLDER,
        # Shells run these.
        *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile"),
        *(".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".cshrc", ".tcshrc", ".login"),
        # Kernels and interpreters run these.
        *(".ipython", ".jupyter", ".pythonrc", ".pythonrc.py", ".pdbrc", ".rprofile", ".renviron"),
        # Hooks and settings that name programs to run.
        *(".git", ".hg", ".gitconfig", ".envrc"),
        # These control who may log in.
        *(".ssh", ".gnupg", ".netrc", ".rhosts", ".shosts", ".forward", ".k5login"),
    }
)
"""Hidden names that programs act on without asking, at any depth, in lower case."""

# Code points that are invisible in a name or change the direction of the text after them: Unicode's
# Default_Ignorable_Code_Point and Bidi_Control, line and paragraph separators, blanks, noncharacters, and the
# private ones that stand for ":" and similar characters on SMB and WSL mounts.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\uf000-\uf0ff\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000))
)
# Also invisible, but Persian, Hindi, Mongolian and Japanese names and emoji need them.
_VARIATIONS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_JOINERS = "\u200c\u200d" + _VARIATIONS

_VARIATION = re.compile(f"[{_VARIATIONS}]")
_JOINER = re.compile(f"[{_JOINERS}]")
_IGNORED = re.compile(f"[{_JOINERS}{_INVISIBLE}]")
_UNSEEN = re.compile(f"[{_INVISIBLE}]")
# The combining class of the signs that join two Indic consonants.
_VIRAMA = 9

# Such a name breaks no rule below; matching it first saves time.
_ORDINARY = re.compile(r"[A-Za-z0-9_-]{5,60}(\.[A-Za-z0-9_-]{1,20}){0,3}")
_RULES = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (r"\A\.{0,2}\Z", 'a part of it is empty, "." or ".."'),
        ("[\ud800-\udfff]", "it is not valid Unicode"),
        (r"[\x00-\x1f\x7f-\x9f]", "it contains a control character"),
        (r'[\\:<>"|?*]', 'it contains one of \\ : < > " | ? *'),
        (_UNSEEN.pattern, "it contains an invisible or direction-changing character"),
        (r"[.\s]\Z", "a part of it ends with a dot or a space"),
        # learn.microsoft.com, "Naming Files, Paths, and Namespaces": also with an extension.
        (r"(?i)\A(con|prn|aux|nul|con(in|out)\$|(com|lpt)[0-9\xb9\xb2\xb3]) *(\.|\Z)", "Windows reserves it"),
        # GIT~1 is .git on NTFS: CVE-2019-1352.
        (r"\A[^.]{1,6}~[0-9]{1,6}(\.[^.]{0,3})?\Z", "Windows may treat it as the short form of another name"),
    )
)


def check_paths(
    paths: Iterable[str], *, folders: Container[str] = frozenset(), allow_hidden: bool = False
) -> None:
    """Check all paths of an offer; those in ``folders`` are folders. Parent folders need not be listed.

    Raises :class:`UnsafePath` for the first unsafe path, and for two paths that some file system treats as one.
    ``allow_hidden`` permits hidden names, except our own.
    """
    tree = _Tree(allow_hidden)
    for path in paths:
        tree.add(path, "folder" if path in folders else "file")


def is_obeyed(name: str) -> bool:
    """Whether programs act on a file or folder of this name without asking, as Git does on ``.git``."""
    return _key(name) in OBEYED


def display_name(name: str, limit: int = 120) -> str:
    r"""Make a name safe to print: an invisible character becomes ``\x1b`` or ``\u202e``.

    A name of more than ``limit`` characters loses its middle. Joiners stay where ``check_paths`` allows them,
    because Persian and Hindi are unreadable without them.
    """
    if len(name) > 2 * limit:
        name = name[:limit] + name[-limit:]
    shown = [_shown(name, at) for at in range(len(name))]
    if sum(map(len, shown)) <= limit:
        return "".join(shown)
    head, tail = (limit - 1) // 2, limit - 1 - (limit - 1) // 2
    return _upto(shown, head) + "\u2026" + _upto(shown[::-1], tail, reverse=True)


def _upto(shown: list[str], limit: int, *, reverse: bool = False) -> str:
    """Take as many whole characters from the start as fit; no escape is cut in two."""
    taken: list[str] = []
    for text in shown:
        limit -= len(text)
        if limit < 0:
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
    """The paths checked so far, by the key under which file systems may confuse them."""

    def __init__(self, allow_hidden: bool) -> None:
        self._allow_hidden = allow_hidden
        self._folder_keys = {"": ""}
        # Key -> (path, kind).
        self._taken: dict[str, tuple[str, str]] = {}

    def add(self, path: str, kind: str) -> None:
        """Check one path; ``kind`` is "file" or "folder"."""
        if path.startswith("/"):
            raise _unsafe(path, "it is not relative")
        if path.count("/") >= MAX_DEPTH:
            raise _unsafe(path, f"it is more than {MAX_DEPTH} folders deep")
        if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
            raise _unsafe(path, f"it is longer than {MAX_PATH:,} bytes")
        self._place(path, kind)

    def _place(self, path: str, kind: str) -> str:
        """Check the last part of a path, after those above it; return its collision key."""
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
        """Reserve a key for a path; raises if another path, or the same path as another kind, has it."""
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
            return "nbferry keeps its own files there"
        if self._allow_hidden:
            return ""
        if key in OBEYED:
            return "programs act on such a file or folder without asking"
        return "it is hidden" if top and name.startswith(".") else ""


def _fault(name: str) -> str:
    """Say why a name is not allowed; empty if it is."""
    for pattern, why in _RULES:
        if pattern.search(name):
            return why
    if len(name.encode()) > MAX_NAME:
        return f"a part of it is longer than {MAX_NAME} bytes"
    if any(not _joins(name, found.start()) for found in _JOINER.finditer(name)):
        return "it contains an invisible character where no script needs it"
    return ""


def _joins(name: str, at: int) -> bool:
    """Whether the joiner at this place shapes letters or emoji.

    After RFC 5892, appendix A: between two such characters, or after a virama. ASCII never needs one, except
    the digit in a keycap emoji.
    """
    before, after = name[at - 1 : at], name[at + 1 : at + 2]
    if _VARIATION.match(name[at]):
        return _is_shaped(before) or (after == "\u20e3" and before in "0123456789#")
    if _VARIATION.match(before):
        before = name[at - 2 : at - 1]
    return _is_shaped(before) and (_is_shaped(after) or unicodedata.combining(before) == _VIRAMA)


def _is_shaped(char: str) -> bool:
    """Whether this is a visible character beyond ASCII; "Cn" is an emoji newer than this Python."""
    if char <= "\x7f" or _JOINER.match(char):
        return False
    category = unicodedata.category(char)
    return category[0] in "LMNPS" or category == "Cn"


def _key(name: str) -> str:
    """Reduce a name to what all file systems distinguish: no joiners, no case, one composition."""
    if name.isascii():
        return name.lower()
    seen = unicodedata.normalize("NFD", _IGNORED.sub("", name)).casefold()
    # Again, because casefolding undoes it: Unicode 15, definition D145.
    return unicodedata.normalize("NFD", seen)


def _unsafe(path: str, why: str) -> UnsafePath:
    return UnsafePath(f'"{display_name(path)}" is not a safe name: {why}.')
