"""Where this process keeps its state: in a folder beside the notebook, where a later kernel of it finds it.

    NBFERRY_STATE             the user's choice
    __vsc_ipynb_file__        VS Code puts it into the namespace of a notebook
    the session of this kernel, from its Jupyter server: right even after the notebook was renamed
    JPY_SESSION_NAME          the name of the notebook when the kernel was started
    the current folder

If the folder of the notebook is read-only, the state goes into the user's own state folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nbferry.jupyter.server import get_json, own_server
from nbferry.limits import MiB
from nbferry.model.names import STATE_FOLDER
from nbferry.storage.records.ledger import StateFolders

SESSIONS_SECONDS = 2.0
# Enough for thousands of notebooks.
MAX_SESSIONS = 4 * MiB
_CONNECTION = re.compile(r"kernel-([0-9A-Za-z_-]{1,128})\.json")
_VSCODE = re.compile(r"-jvsc-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def state_folders() -> StateFolders:
    """Where the state of this process lies now. May ask the Jupyter server, for some seconds at most."""
    return StateFolders(state_folder(), own_state_folder())


def state_folder(
    environ: Mapping[str, str] = os.environ,
    namespace: Mapping[str, Any] | None = None,
    cwd: Path | None = None,
    *,
    argv: Sequence[str] | None = None,
    user_state: Path | None = None,
    can_write: Callable[[Path], bool] | None = None,
) -> Path:
    """The state folder of this process, an absolute path. Nothing is created.

    ``namespace`` is the user's (default: IPython's), ``argv`` the arguments of the kernel. ``can_write`` tests the
    notebook's folder; ``user_state`` is used if it is read-only. May ask the Jupyter server, for some seconds at most.
    """
    cwd = Path(cwd or Path.cwd()).absolute()
    if named := environ.get("NBFERRY_STATE"):
        return cwd / os.path.expanduser(named) / STATE_FOLDER  # noqa: PTH111  # without a home it is left as it is
    namespace = _user_namespace() if namespace is None else namespace
    notebooks = _notebooks(environ, namespace, cwd, sys.argv if argv is None else argv)
    folder = next((notebook.parent for notebook in notebooks if _is_file(notebook)), cwd)
    if (can_write or _can_write)(folder):
        return folder / STATE_FOLDER
    return (user_state or own_state_folder()) / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]


def _notebooks(
    environ: Mapping[str, str], namespace: Mapping[str, Any], cwd: Path, argv: Sequence[str]
) -> Iterator[Path]:
    """Where the notebook may be, the best guess first. Each guess is made only when it is needed."""
    guesses: tuple[Callable[[], object], ...] = (
        lambda: namespace.get("__vsc_ipynb_file__"),
        lambda: _live_session(environ, argv),
        lambda: environ.get("JPY_SESSION_NAME"),
    )
    for guess in guesses:
        name = guess()
        if isinstance(name, str) and name:
            yield cwd / _VSCODE.sub("", name)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    # A folder without permission, or a NUL in the name.
    except (OSError, ValueError):
        return False


# ------------------------------------------------------------------ the kernel's own session
def _user_namespace() -> Mapping[str, Any]:
    """The variables of the notebook, if this is one. IPython is not loaded to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    found = getattr(shell, "user_ns", None)
    return found if isinstance(found, dict) else {}


def _live_session(environ: Mapping[str, str], argv: Sequence[str]) -> str | None:
    """Where the notebook of this kernel is now, according to the server that started it."""
    kernel = _kernel_id(argv)
    server = own_server(environ) if kernel else None
    if server is None or not server.root:
        return None
    url = server.url + "api/sessions"
    sessions = get_json(url, timeout=SESSIONS_SECONDS, limit=MAX_SESSIONS, headers=server.headers)
    for session in sessions if isinstance(sessions, list) else []:
        match session:
            case {"path": str(path), "kernel": {"id": str(found)}} if found == kernel:
                # jupyter-collaboration adds this prefix.
                path = path.removeprefix("RTC:")
                return str(Path(os.path.expanduser(server.root), path))  # noqa: PTH111  # as above
    return None


def _kernel_id(argv: Sequence[str]) -> str:
    """The id of this kernel, from the name of its connection file; "" if this is no kernel."""
    for name in (*argv, _connection_file()):
        if found := _CONNECTION.fullmatch(Path(name).name):
            return found[1]
    return ""


def _connection_file() -> str:
    """The connection file of a kernel in this process; "" if it has none."""
    app = getattr(sys.modules.get("ipykernel.kernelapp"), "IPKernelApp", None)
    if app is None or not app.initialized():
        return ""
    return str(getattr(app.instance(), "connection_file", ""))


# ------------------------------------------------------------------ where nothing can be written
def _can_write(folder: Path) -> bool:
    """Whether state can be kept in a folder, or is kept there already."""
    state = folder / STATE_FOLDER
    effective = os.access in os.supports_effective_ids
    return os.access(state if state.is_dir() else folder, os.W_OK | os.X_OK, effective_ids=effective)


def own_state_folder() -> Path:
    """This user's folder for the state of nbferry that belongs to no notebook."""
    from platformdirs import user_state_path  # noqa: PLC0415  # ``import nbferry`` stays quick

    return user_state_path("nbferry", appauthor=False)
