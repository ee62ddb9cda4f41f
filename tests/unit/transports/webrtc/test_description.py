"""What one end tells the other, and what of it is believed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.errors import RemoteProtocolError
from nbferry.transports.webrtc.description import (
    BASE_PACKET,
    DEFAULT_MAX_MESSAGE,
    MAX_CANDIDATES,
    MAX_DIALLED,
    MAX_PACKET,
    Candidate,
    Description,
    best,
    binding,
)

FINGERPRINT = ":".join(["AB"] * 32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def good(**changes: Any) -> dict[str, Any]:
    """Fields of a description."""
    fields: dict[str, Any] = {
        "ufrag": "abcd",
        "password": "a" * 22,
        "candidates": [["host", "192.0.2.1", 4000, 2_130_706_431, "1"]],
        "fingerprints": {"sha-256": FINGERPRINT},
        "max_message": 65_536,
        "max_packet": 16_384,
    }
    return fields | changes


def at(*addresses: str) -> Description:
    """One end that is somewhere."""
    return Description.from_json(
        good(candidates=[["host", ip, 4000, 100 - place, "1"] for place, ip in enumerate(addresses)])
    )


def test_a_description_comes_back_from_json():
    """What was written is what is read, after a trip as text."""
    described = Description.from_json(good())
    assert Description.from_json(json.loads(json.dumps(described.to_json()))) == described


def test_what_is_not_said_is_the_least():
    """A peer that names no sizes gets messages and packets that everybody takes."""
    fields = good()
    del fields["max_message"], fields["max_packet"]
    described = Description.from_json(fields)
    assert (described.max_message, described.max_packet) == (DEFAULT_MAX_MESSAGE, BASE_PACKET)


def test_a_packet_is_never_larger_than_a_record():
    """A peer that takes more gets no more than DTLS can carry."""
    assert Description.from_json(good(max_packet=65_000)).max_packet == MAX_PACKET


@pytest.mark.parametrize(
    "changes",
    [
        {"ufrag": "abc"},
        {"ufrag": "a b c d"},
        {"ufrag": "a" * 257},
        {"password": "a" * 21},
        {"password": None},
        {"candidates": None},
        {"candidates": [["host", "192.0.2.1", 4000, 1, "1"]] * (MAX_CANDIDATES + 1)},
        {"candidates": [["prflx", "192.0.2.1", 4000, 1, "1"]]},
        {"candidates": [["host", "example.org", 4000, 1, "1"]]},
        {"candidates": [["host", "1" * 100, 4000, 1, "1"]]},
        {"candidates": [["host", "192.0.2.1", 0, 1, "1"]]},
        {"candidates": [["host", "192.0.2.1", True, 1, "1"]]},
        {"candidates": [["host", "192.0.2.1", 4000, 1 << 31, "1"]]},
        {"candidates": [["host", "192.0.2.1", 4000, 1, "\n"]]},
        {"candidates": [["host", "192.0.2.1", 4000, 1]]},
        {"candidates": [7]},
        {"fingerprints": {}},
        {"fingerprints": {"md5": "AB"}},
        {"fingerprints": {"sha-256": "AB"}},
        {"fingerprints": {"sha-256": ":".join(["ZZ"] * 32)}},
        {"fingerprints": {"sha-256": FINGERPRINT.replace(":", " ", 1)[:-1] + "\n"}},
        {"fingerprints": [FINGERPRINT]},
        {"max_message": -1},
        {"max_message": 1.5},
        {"max_packet": BASE_PACKET - 1},
        {"max_packet": 1 << 20},
    ],
)
def test_bad_descriptions(changes):
    """Anything out of bounds is refused as a whole."""
    with pytest.raises(RemoteProtocolError):
        Description.from_json(good(**changes))


@given(JSON)
def test_any_json_is_a_description_or_refused(value):
    """Nothing else comes of it."""
    with pytest.raises(RemoteProtocolError):
        Description.from_json(value)


@given(st.dictionaries(st.sampled_from(sorted(good())), JSON))
def test_a_good_description_with_anything_in_it(changes):
    """A field of any kind is read or refused, never an accident."""
    with contextlib.suppress(RemoteProtocolError):
        Description.from_json(good() | changes)


def test_which_addresses_are_dialled():
    """Plain ones, the best first, eight at most; loopback only if it leads to the other side."""
    plain = [f"192.0.2.{n}" for n in range(1, 20)]
    described = at(
        "127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "224.0.0.1", "ff02::1", "x-1.local", *plain
    )
    assert [each.ip for each in described.dialable(same_machine=False)] == plain[:MAX_DIALLED]
    here = [each.ip for each in described.dialable(same_machine=True)]
    assert here[:3] == ["127.0.0.1", "::1", "::ffff:7f00:1"]
    assert len(here) == MAX_DIALLED


def test_many_addresses_do_not_crowd_out_a_server():
    """The best of each kind come first."""
    hosts = [["host", f"192.0.2.{n}", 4000, 1000 - n, "1"] for n in range(1, 20)]
    others = [["srflx", "198.51.100.1", 4000, 10, "1"], ["relay", "203.0.113.1", 4000, 1, "1"]]
    dialled = Description.from_json(good(candidates=hosts + others)).dialable(same_machine=False)
    assert {each.kind for each in dialled[:3]} == {"host", "srflx", "relay"}
    assert len(dialled) == MAX_DIALLED


def test_the_best_of_each_kind():
    """Of many, by kinds in turn: one that is alone of its kind is among them."""
    seen = [Candidate("srflx", f"198.51.100.{n}", 4000, 10, "1") for n in range(100)]
    others = [Candidate("relay", "203.0.113.1", 4000, 1, "1"), Candidate("host", "192.0.2.1", 4000, 99, "1")]
    found = best([*seen, *others], MAX_CANDIDATES)
    assert [each.kind for each in found[:4]] == ["host", "srflx", "relay", "srflx"]
    assert found[3:] == seen[1 : MAX_CANDIDATES - 2]
    assert best(others, 0) == []


def test_a_description_does_not_show_its_password():
    """Neither in logs nor in a traceback."""
    assert "a" * 22 not in repr(Description.from_json(good()))


def test_the_binding_names_both_ends_in_their_roles():
    """Either fingerprint changes it, and so do exchanged roles."""
    one = Description.from_json(good())
    other = Description.from_json(good(fingerprints={"sha-256": FINGERPRINT.replace("AB", "CD", 1)}))
    assert len({binding(one, other), binding(other, one), binding(one, one), binding(other, other)}) == 4
    assert binding(one, other) == binding(Description.from_json(one.to_json()), other)


def test_the_binding_does_not_depend_on_how_a_fingerprint_is_written():
    """Lower case, another order: the same."""
    longer = ":".join(["0f"] * 48)
    one = Description.from_json(good(fingerprints={"sha-384": longer, "sha-256": FINGERPRINT.lower()}))
    same = Description.from_json(good(fingerprints={"sha-256": FINGERPRINT, "sha-384": longer.upper()}))
    assert binding(one, one) == binding(same, same)


def test_a_candidate_is_a_list():
    """Which is short, as it goes through a mailbox."""
    candidate = Candidate("srflx", "2001:db8::1", 5, 6, "7")
    assert Candidate.from_json(candidate.to_json()) == candidate
