"""The client's query and ours."""

import pytest

from vestibule.gate.query import replaced


@pytest.mark.parametrize(
    ("query", "ours", "result"),
    [
        (b"", {}, b""),
        (b"a=%2f&&b;c=+", {}, b"a=%2f&&b;c=+"),
        (b"", {"key": "t/1"}, b"key=t%2F1"),
        (b"a=%2f&b", {"key": "t"}, b"a=%2f&b&key=t"),
    ],
)
def test_query_is_kept(query, ours, result):
    """Byte for byte (design decision 21); ours comes last."""
    assert replaced(query, frozenset(ours), ours) == result


@pytest.mark.parametrize(
    "written",
    [
        *(
            b"key=evil",
            b"key",
            b"%6bey=evil",
            b"ke%79=",
            b"key=a&key=b",
            b"key=%",
            b"KEY=evil",
            b"key%00=1",
            b"key[]=3",
        ),
        *(b"key%5b0%5d=1", b"x=1;key=evil", b"key+=1"),
    ],
)
def test_attack_token_of_the_client_beside_ours(written):
    """A backend may take the first or the last of two: there is one."""
    assert replaced(b"a=1&" + written + b"&b=2", frozenset({"key"}), {"key": "ours"}) == b"a=1&b=2&key=ours"


def test_attack_token_of_the_client_where_we_have_none():
    """The name stays ours when the provider gave no value for it this time; other alphabets are compared as bytes."""
    assert replaced(b"tenant=victim&a=1", frozenset({"tenant"}), {}) == b"a=1"
    assert replaced("cl%C3%A9=1&clé=2&a=1".encode(), frozenset({"clé"}), {}) == b"a=1"
