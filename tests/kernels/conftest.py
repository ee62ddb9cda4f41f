"""Real kernels, alone and below a real Jupyter server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nbferry.server
from cells import Kernel, Server, start_kernel
from running import PATIENCE, environment


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kernel, Kernel]]:
    """Two kernels in two folders, that have imported nbferry."""
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
    """A Jupyter server in which the extension is enabled as ``pip install`` does it: by a file of configuration."""
    root = tmp_path.resolve()
    enabled = root / "etc/jupyter_server_config.d/nbferry.json"
    enabled.parent.mkdir(parents=True)
    shutil.copy(Path(nbferry.server.__file__).with_name("nbferry.json"), enabled)
    env = environment(
        JUPYTER_CONFIG_PATH=str(root / "etc"),
        JUPYTER_CONFIG_DIR=str(root / "config"),
        JUPYTER_DATA_DIR=str(root / "data"),
        JUPYTER_RUNTIME_DIR=str(root / "runtime"),
        PYTHONWARNINGS=None,
    )
    options = ["--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root", f"--ServerApp.root_dir={root}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", *options, "--ServerApp.base_url=/user/anna/"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr
    said = ""
    for line in process.stderr:
        said += line
        if "Use Control-C" in line:
            break
    else:
        raise AssertionError(said)
    info = json.loads((root / f"runtime/jpserver-{process.pid}.json").read_text())
    server = Server(root, info)
    yield server
    server.close()
    process.terminate()
    process.communicate(timeout=PATIENCE)
