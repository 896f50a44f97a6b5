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
    assert replaced(query, ours) == result


@pytest.mark.parametrize("written", [b"key=evil", b"key", b"%6bey=evil", b"ke%79=", b"key=a&key=b", b"key=%"])
def test_attack_token_of_the_client_beside_ours(written):
    """A backend may take the first or the last of two: there is one."""
    assert replaced(b"a=1&" + written + b"&b=2", {"key": "ours"}) == b"a=1&b=2&key=ours"
