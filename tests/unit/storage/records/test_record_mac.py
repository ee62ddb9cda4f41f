"""The key of this user, and what is sealed under it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbferry.storage.records.record_mac import sealed, unsealed, user_key

KEY = bytes(range(32))


def test_what_was_sealed_is_opened() -> None:
    """Under the same key the body comes back as it was."""
    assert unsealed(sealed(b"{}", KEY), KEY) == b"{}"
    assert unsealed(sealed(b"two\nlines\n", KEY), KEY) == b"two\nlines\n"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"{}\n", b"{}\n[]\n", b'{}\n{"mac": 5}\n', b'{}\n{"mac": ""}\n', b"\xff\n\xff"]
)
def test_what_is_not_sealed(data: bytes) -> None:
    """Anything else is a ValueError, however it looks."""
    with pytest.raises(ValueError, match="another user or machine"):
        unsealed(data, KEY)


def test_what_was_changed() -> None:
    """Another key, or another body, does not fit."""
    data = sealed(b'{"a": 1}', KEY)
    for wrong, key in ((data.replace(b"1", b"2", 1), KEY), (data, bytes(32))):
        with pytest.raises(ValueError, match="another user or machine"):
            unsealed(wrong, key)


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """It is random, private, and stays the same."""
    key = user_key(tmp_path / "own")
    assert len(key) == 32
    assert user_key(tmp_path / "own") == key
    assert (tmp_path / "own/key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["key"]
    assert user_key(tmp_path / "other") != key


def test_the_key_outlives_a_power_failure(tmp_path: Path) -> None:
    """The key, and the name of each folder that was made for it, are durable when something is sealed under it."""
    durable: dict[str, list[str]] = {}

    def sync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path.is_dir():
            durable[path.name] = sorted(each.name for each in path.iterdir())

    user_key(tmp_path / "above/own", sync=sync)
    assert durable == {tmp_path.name: ["above"], "above": ["own"], "own": ["key"]}


@pytest.mark.parametrize("planted", [b"", b"short", b"x" * 33])
def test_a_damaged_key(tmp_path: Path, planted: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is not used, and not replaced: each process gets one of its own, and says so."""
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_bytes(planted)
    assert user_key(tmp_path) != user_key(tmp_path)
    assert caplog.text
    assert (tmp_path / "key").read_bytes() == planted


def test_where_no_key_can_be_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A transfer works all the same; no other process can resume it, and that is said."""
    (tmp_path / "file").write_bytes(b"")
    assert len(user_key(tmp_path / "file/own")) == 32
    assert "cannot resume transfers" in caplog.text
