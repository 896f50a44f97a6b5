"""Requests are read strictly: one meaning or none."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.errors import InvalidRequest, InvalidScope
from vestibule.oauth.params import MAX_BYTES, parse_form, parse_query, parse_scope

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("raw", "values", "resources"),
    [
        (b"", {}, ()),
        (b"a=1&b=2", {"a": "1", "b": "2"}, ()),
        (b"a=", {}, ()),
        (b"a", {}, ()),
        (b"a=&a=1", {"a": "1"}, ()),
        (b"state=a%26b%3Dc+d", {"state": "a&b=c d"}, ()),
        (b"a=1;b=2", {"a": "1;b=2"}, ()),
        (b"name=%C3%A9", {"name": "é"}, ()),
        (b"resource=https://a&resource=https://b", {}, ("https://a", "https://b")),
        (b"resource=&resource=https://b", {}, ("https://b",)),
    ],
)
def test_query_means(raw, values, resources):
    """RFC 6749 §3.1: empty is absent; RFC 8707 §2: `resource` alone may repeat."""
    params = parse_query(raw)
    assert dict(params) == values
    assert params.resources == resources


@pytest.mark.parametrize(
    ("raw", "slug"),
    [
        (b"client_id=a&client_id=b", "parameter_repeated"),
        (b"client_id=a&client_id=a", "parameter_repeated"),
        (b"unknown=a&unknown=b", "parameter_repeated"),
        (b"a=%FF", "parameters_malformed"),
        (b"a=%ED%A0%80", "parameters_malformed"),
        (b"a=\xff", "parameters_malformed"),
        (b"a=%00", "control_character"),
        (b"state=a%0D%0ASet-Cookie:x", "control_character"),
        (b"a%0A=1", "control_character"),
        (b"&".join(b"p%d=1" % n for n in range(65)), "parameters_malformed"),
        (b"a=" + b"x" * MAX_BYTES, "request_too_large"),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else value,
)
def test_query_is_refused(raw, slug):
    """RFC 6749 §3.1 (repeats), Appendix A and B (characters, UTF-8), and our own bounds."""
    with pytest.raises(InvalidRequest) as refused:
        parse_query(raw)
    assert refused.value.slug == slug


@pytest.mark.parametrize(
    ("content_type", "accepted"),
    [
        (FORM, True),
        (FORM + ";charset=UTF-8", True),
        (FORM.upper() + ' ; charset="utf-8"', True),
        ("application/json", False),
        ("multipart/form-data; boundary=x", False),
        ("text/plain", False),
        (FORM + "; charset=utf-7", False),
        (FORM + ", application/json", False),
        ("", False),
    ],
)
def test_form_content_type(content_type, accepted):
    """RFC 6749 §3.2, Appendix B."""
    if accepted:
        assert parse_form(b"a=1", content_type)["a"] == "1"
    else:
        with pytest.raises(InvalidRequest):
            parse_form(b"a=1", content_type)


def test_attack_secret_in_a_log_line():
    """Printing the parameters of a token request shows names only."""
    params = parse_form(b"client_secret=hunter2&code=abcdef", FORM)
    assert "hunter2" not in f"{params} {params!r}"
    assert "abcdef" not in f"{params} {params!r}"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (None, ()),
        ("", ()),
        ("read write", ("read", "write")),
        ("read read", ("read",)),
        (" offline_access", ("offline_access",)),
        ("issues:read https://x/y", ("issues:read", "https://x/y")),
    ],
)
def test_scope_means(text, tokens):
    """RFC 6749 §3.3; superfluous spaces are what claude.ai sends."""
    assert parse_scope(text) == tokens


@pytest.mark.parametrize("text", ['re"ad', "re\\ad", "re\tad", "réad", "read\nwrite"])
def test_scope_is_refused(text):
    """RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ); a quote would leave its place in a challenge."""
    with pytest.raises(InvalidScope):
        parse_scope(text)


@given(st.binary(max_size=300))
def test_any_query_is_read_or_refused(raw):
    """No input raises anything else; what is read holds no control character and no empty value."""
    try:
        params = parse_query(raw)
    except InvalidRequest:
        return
    for value in [*params.values(), *params.resources]:
        assert value
        assert not any(ord(character) < 0x20 or ord(character) == 0x7F for character in value)


@given(st.binary(max_size=100), st.text(max_size=60))
def test_any_form_is_read_or_refused(body, content_type):
    """No input raises anything else."""
    with contextlib.suppress(InvalidRequest):
        parse_form(body, content_type)
