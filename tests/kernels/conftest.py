"""Real kernels, alone and below a real Jupyter server."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import nbferry.jupyter
from cells import TOKEN, Kernel, Server, start_kernel
from running import PATIENCE, environment


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kernel, Kernel]]:
    """Two kernels in two folders, with nbferry imported."""
    root = tmp_path_factory.mktemp("kernels").resolve()
    both = start_kernel(root / "sender"), start_kernel(root / "receiver")
    for kernel in both:
        kernel.run("import nbferry, os, pathlib, queue")
    yield both
    for kernel in both:
        kernel.close()
    shutil.rmtree(root)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A Jupyter server with the extension."""
    with jupyter_server(tmp_path.resolve()) as server:
        yield server


@contextmanager
def jupyter_server(root: Path, port: int = 0) -> Iterator[Server]:
    """A Jupyter server with the extension enabled by a configuration file, as ``pip install`` does it."""
    enabled = root / "etc/jupyter_server_config.d/nbferry.json"
    enabled.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(nbferry.jupyter.__file__).with_name("nbferry.json"), enabled)
    env = environment(
        JUPYTER_CONFIG_PATH=str(root / "etc"),
        JUPYTER_CONFIG_DIR=str(root / "config"),
        JUPYTER_DATA_DIR=str(root / "data"),
        JUPYTER_RUNTIME_DIR=str(root / "runtime"),
        PYTHONWARNINGS=None,
    )
    options = [
        f"--IdentityProvider.token={TOKEN}",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--allow-root",
        f"--ServerApp.root_dir={root}",
    ]
    command = [sys.executable, "-m", "jupyter_server", *options, "--ServerApp.base_url=/user/anna/"]
    with subprocess.Popen(
        command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        server = Server(root, address_of(process), process)
        server.wait_until_it_answers()
        yield server
        server.close()
        process.terminate()
        process.communicate(timeout=PATIENCE)


def address_of(process: subprocess.Popen[str]) -> str:
    """Wait for the address that a server prints."""
    said = ""
    assert process.stderr
    for line in process.stderr:
        said += line
        if found := re.search(r"http://127\.0\.0\.1:\d+/user/anna/", line):
            return found[0]
    raise AssertionError(said)
