"""The configurable limits."""

from __future__ import annotations

import ast
from dataclasses import fields
from inspect import getsource

import pytest

from nbferry.limits import MAX_MESSAGE, KiB, Limits, MiB


@pytest.mark.parametrize("size", [0, 4 * KiB - 1, 64 * MiB + 1])
def test_chunk_sizes(size: int) -> None:
    """A chunk has from 4 KiB to 64 MiB."""
    with pytest.raises(ValueError, match="chunk_size"):
        Limits(chunk_size=size, window=128 * MiB, read_ahead=128 * MiB)
    for good in (4 * KiB, 64 * MiB):
        assert Limits(chunk_size=good, window=good, read_ahead=good).chunk_size == good


@pytest.mark.parametrize("changes", [{"window": 100}, {"read_ahead": 100}, {"chunk_size": 32 * MiB}])
def test_buffers_hold_a_chunk(changes: dict[str, int]) -> None:
    """Window and read-ahead hold one chunk at least."""
    with pytest.raises(ValueError, match="window and read_ahead"):
        Limits(**changes)  # type: ignore[arg-type]


def test_the_defaults_fit_each_other() -> None:
    """A chunk fits into a message, and a ping is sent long before a connection counts as dead."""
    limits = Limits()
    assert limits.chunk_size < MAX_MESSAGE
    assert 2 * limits.ping_interval < limits.dead_after
    assert limits.direct_head_start < limits.connect_timeout
    assert limits.backoff_first < limits.backoff_most
    assert limits.offer_ttl < limits.keep_unfinished


def test_each_number_has_its_reason() -> None:
    """Each field is followed by a sentence that explains it."""
    (tree,) = ast.parse(getsource(Limits)).body
    assert isinstance(tree, ast.ClassDef)
    followed = {
        node.target.id
        for node, after in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(after, ast.Expr)
    }
    assert followed == {field.name for field in fields(Limits)}
