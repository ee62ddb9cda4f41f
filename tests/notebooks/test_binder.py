"""What mybinder.org is told to build, as far as it can be checked without building it."""

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
    """The last step of the build is executable, is a script of bash without a slip, and stops at what fails."""
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[:2] == ["#!/bin/bash", "set -eux"]
    subprocess.run(["bash", "-n", script], check=True)


def test_python_is_new_enough() -> None:
    """A Python is named, because the default is too old, and it is one that the package takes."""
    named = (BINDER / "runtime.txt").read_text().strip()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert named.removeprefix("python-") in SpecifierSet(project["requires-python"])
    assert f"Programming Language :: Python :: {named.removeprefix('python-')}" in project["classifiers"]


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_requirements(line: str) -> None:
    """Each requirement is a package that exists; the tests run with one that satisfies it."""
    wanted = Requirement(line)
    assert version(wanted.name) in wanted.specifier


def test_what_the_badge_opens() -> None:
    """The notebook that the badge opens is there."""
    (opened,) = re.findall(r"urlpath=lab/tree/([\w./-]+)\)", (BINDER / "README.md").read_text())
    assert (ROOT / opened).is_file()
