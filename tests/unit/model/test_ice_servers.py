"""STUN and TURN servers in the notations of people and browsers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbferry.model.ice_servers import MAX_ICE_SERVERS, MAX_SECRET, PUBLIC_STUN, IceServer, ice_servers

SECRET = "hush-hush"
TURN = IceServer("turn", "turn.example", 3478, username="anna", credential=SECRET)

ADDRESSES = [
    ("stun:stun.example", IceServer("stun", "stun.example", 3478)),
    ("stun:203.0.113.7:19302", IceServer("stun", "203.0.113.7", 19302)),
    ("stun:[2001:db8::1]:3479", IceServer("stun", "2001:db8::1", 3479)),
    (f"turn:anna:{SECRET}@turn.example", TURN),
    (f"turn:anna:{SECRET}@turn.example?transport=udp", TURN),
    (
        f"turn:anna:{SECRET}@turn.example:80?transport=tcp",
        IceServer("turn", "turn.example", 80, "tcp", username="anna", credential=SECRET),
    ),
    (
        f"turns:anna:{SECRET}@turn.example",
        IceServer("turn", "turn.example", 5349, "tcp", tls=True, username="anna", credential=SECRET),
    ),
    (
        "turn:anna%40work:a%3Ab%2Cc%25@[::1]:1?transport=tcp",
        IceServer("turn", "::1", 1, "tcp", username="anna@work", credential="a:b,c%"),
    ),
]


@pytest.mark.parametrize(("address", "server"), ADDRESSES, ids=lambda value: str(value)[:30])
def test_addresses(address: str, server: IceServer) -> None:
    """An address names a server and its credentials, with defaults for the rest."""
    assert ice_servers(address) == ice_servers([address]) == (server,)


@pytest.mark.parametrize("server", [server for _, server in ADDRESSES], ids=str)
def test_as_an_object(server: IceServer) -> None:
    """A server is written as browsers write it, and read back."""
    assert ice_servers([server.as_object()]) == (server,)


def test_several() -> None:
    """Servers form a list or a text with commas and spaces. An empty text is no server."""
    both = ("stun:a", "stun:b:5")
    assert ice_servers(" stun:a , stun:b:5,") == ice_servers(both) == ice_servers(iter([*both, ""]))
    assert ice_servers("") == ice_servers([]) == ice_servers(" , ") == ()


def test_objects_of_a_browser() -> None:
    """One object may have several addresses and credentials, which a STUN server ignores."""
    found = ice_servers(
        [{"urls": ["turn:turn.example", "stun:stun.example"], "username": "anna", "credential": SECRET}]
    )
    assert found == (TURN, IceServer("stun", "stun.example", 3478))
    assert ice_servers([{"urls": "stun:stun.example", "username": None}]) == found[1:]


@pytest.mark.parametrize(
    "wrong",
    [
        "stun",
        "stun:",
        "http://stun.example",
        "stun://stun.example",
        "stun:stun.example:0",
        "stun:stun.example:65536",
        "stun:stun.example:+80",
        "stun:stun.example:٣",
        "stun:stun example",
        "stun:stun.example/path",
        "stun:stun\x1b[2J.example",
        "stun:stun.example?transport=tcp",
        "stun:[]",
        "stun:" + "a" * 300,
        f"turn:anna:{SECRET}@turn.example?transport=sctp",
        f"turns:anna:{SECRET}@turn.example?transport=udp",
        "turn:turn.example",
        "turn:anna@turn.example",
        f"turn:anna:{SECRET}@turn.example@",
        f"turn:anna:{SECRET}%00@turn.example",
        f"turn:anna:{SECRET * MAX_SECRET}@turn.example",
        f"turn:an,na:{SECRET}@turn.example",
        [7],
        [None],
        [{}],
        [{"urls": []}],
        [{"urls": [7]}],
        [{"urls": {"stun:a": 1}}],
        [{"urls": "turn:turn.example"}],
        [{"urls": "turn:turn.example", "username": "anna"}],
        [{"urls": "turn:turn.example", "username": "anna", "credential": {"secret": SECRET}}],
        [["stun:a"]],
        {"urls": "stun:a"},
        ["stun:a"] * (MAX_ICE_SERVERS + 1),
    ],
    ids=ascii,
)
def test_invalid_servers(wrong: Any) -> None:
    """An invalid value raises a ValueError that is safe to print and repeats no secret."""
    with pytest.raises(ValueError, match=r"\w") as raised:
        ice_servers(wrong)
    assert SECRET not in str(raised.value)
    assert str(raised.value).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["stun:a", "urls", "turn:a:b@c"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["urls", "username", "credential"]), inner)
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=3))
def test_anything(named: list[Any]) -> None:
    """Any value gives servers that are read back, or a ValueError."""
    try:
        found = ice_servers(named)
    except ValueError:
        return
    assert ice_servers([server.as_object() for server in found]) == found


def test_the_credential_is_not_shown() -> None:
    """Neither the text nor the repr shows the secret."""
    assert str(TURN) == "turn:turn.example:3478"
    assert SECRET not in repr(TURN)


def test_the_default_server() -> None:
    """The default server is a STUN server."""
    assert [server.kind for server in ice_servers(PUBLIC_STUN)] == ["stun"]
