"""The instructions for mybinder.org, as far as they can be checked without a build."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"
REQUIREMENTS = (BINDER / "requirements.txt").read_text().split()


def test_the_script_can_run() -> None:
    """The last build step is executable and valid bash, and stops at the first failure."""
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[:2] == ["#!/bin/bash", "set -eux"]
    subprocess.run(["bash", "-n", script], check=True)


def test_python_is_new_enough() -> None:
    """A Python version is named, as the default is too old, and the package supports it."""
    named = (BINDER / "runtime.txt").read_text().strip()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert named.removeprefix("python-") in SpecifierSet(project["requires-python"])
    assert f"Programming Language :: Python :: {named.removeprefix('python-')}" in project["classifiers"]


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_requirements(line: str) -> None:
    """Each requirement is a real package, in a version that the tests use."""
    wanted = Requirement(line)
    assert version(wanted.name) in wanted.specifier


def test_the_notebook_of_the_badge_exists() -> None:
    """The notebook that the badge opens exists."""
    (opened,) = re.findall(r"urlpath=lab/tree/([\w./-]+)\)", (BINDER / "README.md").read_text())
    assert (ROOT / opened).is_file()
