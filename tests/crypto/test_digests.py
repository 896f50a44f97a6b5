"""Digests, comparison, PKCE, derived keys and the shape of our keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.crypto import random
from vestibule.crypto.digests import BASE62, CHECKSUM_CHARACTERS, checksum, derive, equal, s256, sha256, well_formed_key
from vestibule.model import KeyKind

KEY = "vst_at_" + "a" * 43
KEY += checksum(KEY)


def test_sha256_is_the_standard_one():
    """FIPS 180-4, the vector of "abc": the digests in the database can be recomputed by any other tool."""
    assert sha256("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_s256_is_the_vector_of_the_rfc():
    """RFC 7636 Appendix B."""
    assert s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("abc", "abc", True),
        ("abc", b"abc", True),
        ("é", "é".encode(), True),
        ("abc", "abd", False),
        ("abc", "abc\0", False),
        ("abc", "ab", False),
        ("", "abc", False),
        ("é", "e\u0301", False),
    ],
)
def test_equal_compares_bytes(left, right, same):
    """RFC 3986 §6.2.1 for everything that is compared: no normalisation, no prefixes, text and bytes alike."""
    assert equal(left, right) is same
    assert equal(right, left) is same


def test_one_secret_gives_an_independent_key_for_each_purpose():
    """RFC 5869: what leaks of one purpose says nothing about another; same secret and purpose, same key everywhere."""
    keys = [derive(secret, purpose) for secret in ("first", "second") for purpose in ("state", "form", "seal")]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}
    assert derive("first", "state") == derive("first", "state")
    assert derive("first", "state", 40)[:32] == derive("first", "state")


def test_well_formed_key():
    """Design decision 14: prefix, kind, 256 bits, checksum."""
    assert well_formed_key(KEY)


@pytest.mark.parametrize("length", [0, 1, 6, 7, len(KEY) // 2, len(KEY) - CHECKSUM_CHARACTERS, len(KEY) - 1])
def test_attack_truncated_token(length):
    """CVE-2026-27840: a key that was cut off anywhere is no key, before any look-up is made."""
    assert not well_formed_key(KEY[:length])


@given(st.integers(0, len(KEY) - 1), st.sampled_from(BASE62))
def test_attack_mistyped_key(place, character):
    """CRC-32 finds every change of a single character."""
    changed = KEY[:place] + character + KEY[place + 1 :]
    assert well_formed_key(changed) is (changed == KEY)


@pytest.mark.parametrize(
    "text",
    ["", "x", "é" * 60, KEY + "\n", " " + KEY, KEY + KEY, KEY + "A", "a" * 122 + checksum("a" * 123), "\0" * 60],
    ids=ascii,
)
def test_whatever_else_is_no_key(text):
    """What the client sends is unbounded and arbitrary; what is asked of the database is not."""
    assert not well_formed_key(text)


@given(st.text(max_size=200))
def test_any_text_is_judged_without_an_error(text):
    """An exception in the gate would be a denial as well, but a noisy one."""
    assert well_formed_key(text) in {True, False}


@pytest.mark.parametrize("kind", KeyKind)
def test_checksum_proves_nothing(kind):
    """Anybody can make a key that is well formed: validity is the digest's business alone (CVE-2026-27840)."""
    mine, yours = random.key_text("vst", kind), random.key_text("vst", kind)
    assert well_formed_key(mine)
    assert well_formed_key(yours)
    assert sha256(mine) != sha256(yours)
