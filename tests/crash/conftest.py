"""Plays a few points in a separate process. Children are forked there, which a test run with threads cannot do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FEW = 27
PATIENCE = 100  # seconds


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of a few points, spread over the calls of every scene; see ``bench/crash.py``."""
    results = tmp_path_factory.mktemp("crash") / "crash.json"
    program = [sys.executable, str(ROOT / "bench" / "crash.py"), "--few", str(FEW), "--results", str(results)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert results.exists(), ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(results.read_text())
    return found
