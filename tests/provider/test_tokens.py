"""Reading token replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.driver import NOW, PLAIN, compiled
from vestibule.model import Tokens
from vestibule.provider.flow import Fail
from vestibule.provider.tokens import tokens_of

OUT = compiled(PLAIN).definition.token.out


def read(**fields):
    return tokens_of(OUT, {"access_token": "at", **fields}, now=NOW)


@pytest.mark.parametrize(
    ("fields", "expires_at"),
    [
        ({}, None),
        ({"expires_in": None}, None),
        ({"expires_in": ""}, None),
        ({"expires_in": 3600}, NOW + 3600),
        ({"expires_in": "3600"}, NOW + 3600),
        ({"expires_in": 3600.9}, NOW + 3600),
        ({"expires_in": "3600.0"}, NOW + 3600),
        ({"expires_in": 0}, NOW),
        ({"expires_at": NOW + 5}, NOW + 5),
        ({"expires_at": str(NOW + 5)}, NOW + 5),
        ({"expires_at": (NOW + 5) * 1000}, NOW + 5),
        ({"expires_at": "2027-01-15T08:00:05Z"}, NOW + 5),
        ({"expires_at": "2027-01-15T08:00:05.054320Z"}, NOW + 5),
        ({"expires_at": "2027-01-15T09:00:05+01:00"}, NOW + 5),
        ({"expires_at": "2027-01-15T08:00:05"}, NOW + 5),
        ({"expires_in": 60, "expires_at": "2999-01-01T00:00:00Z"}, NOW + 60),
        ({"expires_in": None, "expires_at": "2027-01-15T08:00:05Z"}, NOW + 5),
    ],
    ids=str,
)
def test_expiry(fields, expires_at):
    """Seconds, milliseconds, ISO 8601, numbers in strings; `expires_in` first (RFC 6749 §5.1)."""
    assert read(**fields).expires_at == expires_at


@pytest.mark.parametrize(
    ("fields", "slug"),
    [
        *(
            ({"expires_in": value}, "expires_in_malformed")
            for value in (-1, "-1", 10**10, 1e300, 10**400, True, "soon", "NaN", "1e9", [], {}, "٣")
        ),
        *(
            ({"expires_at": value}, "expires_at_malformed")
            for value in (-5, "yesterday", "0000-00-00", 10**15, 10**30, True, [], "9999-12-31T00:00:00Z")
        ),
        *(({"access_token": value}, "access_token_missing") for value in (None, "")),
        *(
            ({"access_token": value}, "access_token_malformed")
            for value in (5, True, [], {"a": 1}, "a\r\nb", "ü", "\x00", "a" * 20_000)
        ),
        *(({"refresh_token": value}, "refresh_token_malformed") for value in (5, [], "a\nb")),
        *(({"id_token": value}, "id_token_malformed") for value in (5, {})),
        *(({"scope": value}, "scope_malformed") for value in (5, {"a": 1}, ["a", 5], True)),
    ],
    ids=str,
)
def test_malformed_field_is_misconfigured(fields, slug):
    """A lifetime that cannot be believed must not become one that never ends; the slug names the field."""
    with pytest.raises(Fail) as failed:
        read(**fields)
    assert (failed.value.event.kind, failed.value.event.slug) == ("misconfigured", slug)


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        (None, None),
        ("", ()),
        ("a b", ("a", "b")),
        ("a,b,a", ("a", "b")),
        (" a,  b ", ("a", "b")),
        (["a", "b"], ("a", "b")),
        ([], ()),
    ],
    ids=str,
)
def test_granted_scopes(scope, scopes):
    """RFC 6749 §3.3 spaces, GitHub's commas, Twitch's array; absent means as asked for (§5.1)."""
    assert read(scope=scope).scopes == scopes


@pytest.mark.parametrize("document", [None, [], "text", 5, True, [{"access_token": "a"}]], ids=str)
def test_reply_that_is_no_object(document):
    """HTML, truncated JSON and arrays have no tokens in them."""
    with pytest.raises(Fail) as failed:
        tokens_of(OUT, document, now=NOW)
    assert failed.value.event.slug == "token_reply_unreadable"


def test_missing_token_names_the_fields_only():
    """The operator learns what came instead; a secret in it stays out of the log."""
    with pytest.raises(Fail) as failed:
        tokens_of(OUT, {"token": "hush", "a\nb": 1}, now=NOW)
    assert "token, a?b" in failed.value.event.detail
    assert "hush" not in failed.value.event.detail


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=6,
)


def outcome(document):
    try:
        return tokens_of(OUT, document, now=NOW)
    except Fail as failed:
        return failed.event


@given(
    st.dictionaries(
        st.sampled_from(["access_token", "refresh_token", "expires_in", "expires_at", "scope", "id_token"]), VALUES
    )
)
def test_any_values_end_in_tokens_or_a_failure(document):
    """Whatever the types: tokens with a believable expiry, or Fail."""
    found = outcome(document)
    if isinstance(found, Tokens):
        assert found.access_token
        assert found.expires_at is None or 0 <= found.expires_at < NOW + 101 * 366 * 86400
    else:
        assert found.kind == "misconfigured"
