"""Piling up definitions: merge, null, defaults."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.driver import CATALOG, raw_of
from vestibule.provider.defaults import OIDC, REFRESH, RFC, complete, merge
from vestibule.provider.definition import Definition

TREES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda values: st.dictionaries(st.sampled_from("abc"), values, max_size=3) | st.lists(values, max_size=2),
    max_leaves=8,
)
WORDS = [
    "url",
    "form",
    "json",
    "query",
    "headers",
    "auth",
    "method",
    "body",
    "out",
    "paginate",
    "calls",
    "par",
    "jwt",
    "iss",
]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["basic", "bearer", "GET", "/me", "form_post", "link", "none"]),
    lambda values: st.dictionaries(st.sampled_from(WORDS), values, max_size=4) | st.lists(values, max_size=2),
    max_leaves=10,
)
SECTIONS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {"b": None}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
    ],
    ids=str,
)
def test_merge(base, over, result):
    """Mappings merge, all else replaces, and null stays as a mark for the layers below."""
    assert merge(base, over) == result


@given(SECTIONS, SECTIONS)
def test_merge_changes_neither_argument(base, over):
    """The defaults are shared by all providers."""
    before = copy.deepcopy((base, over))
    merge(base, over)
    assert (base, over) == before
    assert merge(base, {}) == base
    assert merge({}, over) == over


def test_null_deletes_a_default():
    """`{client_id: null, client_key: …}` renames a parameter; no flag is needed."""
    whole = complete({"token": {"url": "u", "form": {"client_id": None, "client_key": "${client.id}"}}})
    assert "client_id" not in whole["token"]["form"]
    assert whole["token"]["form"]["client_key"] == "${client.id}"
    assert whole["token"]["form"]["client_secret"] == "${client.secret}"


def test_null_of_a_parent_deletes_a_default():
    """The mark survives `extends`: a child need not repeat what its parent deleted."""
    parent, child = {"token": {"url": "u", "form": {"redirect_uri": None}}}, {"token": {"headers": {"X": "y"}}}
    assert "redirect_uri" not in complete(merge(parent, child))["token"]["form"]


def test_child_brings_a_default_back():
    """The last word is the child's."""
    parent, child = {"token": {"form": {"code": None}}}, {"token": {"form": {"code": "${code}"}}}
    assert complete(merge(parent, child))["token"]["form"]["code"] == "${code}"


def test_refresh_inherits_token():
    """RFC 6749 §6: the same endpoint and client authentication, other parameters, and no `scope`."""
    whole = complete({"token": {"url": "u", "headers": {"X": "y"}, "form": {"extra": "1"}}})
    assert whole["refresh"]["url"] == "u"
    assert whole["refresh"]["headers"] == {"X": "y", "Accept": "application/json"}
    assert set(whole["refresh"]["form"]) == {"grant_type", "refresh_token", "client_id", "client_secret", "extra"}
    assert whole["refresh"]["form"]["grant_type"] == "refresh_token"
    assert complete({"token": {"url": "u"}, "refresh": "none"})["refresh"] == "none"


@pytest.mark.parametrize(
    ("auth", "form", "headers"),
    [
        ("post", {"client_id", "client_secret"}, set()),
        ("basic", set(), {"Authorization"}),
        ("none", {"client_id"}, set()),
    ],
)
def test_client_authentication_is_a_layer(auth, form, headers):
    """RFC 6749 §2.3.1 and §3.2.1; a call may differ from the client's."""
    raw = {"client": {"auth": auth}, "token": {"url": "u"}, "revoke": {"url": "v", "auth": "bearer"}}
    whole = complete(raw)
    grant = {"grant_type", "code", "redirect_uri", "code_verifier"}
    assert set(whole["token"]["form"]) - grant == form
    assert set(whole["token"]["headers"]) - {"Accept"} == headers
    assert set(whole["refresh"]["form"]) - {"grant_type", "refresh_token"} == form
    assert whole["revoke"]["headers"]["Authorization"] == "Bearer ${access_token}"


def test_identity_calls_carry_the_api_header():
    """One place says how a token is presented."""
    raw = {"api": {"header": {"Authorization": None, "X-Token": "${access_token}"}}}
    whole = complete(raw | {"identity": {"calls": {"me": {"url": "u"}}}})
    assert whole["identity"]["calls"]["me"]["headers"] == {"Accept": "application/json", "X-Token": "${access_token}"}


def test_scope_parameter_is_renamed_or_left_out():
    """`scopes.param` names the parameter of the authorize URL; null leaves it out."""
    assert "scope" in complete({"authorize": {"url": "u"}})["authorize"]["query"]
    renamed = complete({"authorize": {"url": "u"}, "scopes": {"param": "user_scope"}})["authorize"]["query"]
    assert "user_scope" in renamed
    assert "scope" not in renamed
    assert "scope" not in complete({"authorize": {"url": "u"}, "scopes": {"param": None}})["authorize"]["query"]


def test_revocation_without_a_url_is_none():
    """Many providers have no way to revoke."""
    assert "revoke" not in complete({})
    assert "revoke" not in complete({"oidc": {}, "revoke": None})
    assert complete({"oidc": {}})["revoke"]["url"] == "${d.revocation_endpoint}"


@given(st.dictionaries(st.sampled_from(Definition.__struct_fields__), JUNK, max_size=6))
def test_completing_never_raises(raw):
    """What is wrong in a definition is for the type check to say."""
    defaults = copy.deepcopy((RFC, OIDC, REFRESH))
    complete(raw)
    assert defaults == (RFC, OIDC, REFRESH)


@pytest.mark.parametrize("path", sorted(CATALOG.glob("*.yaml")), ids=lambda path: path.stem)
def test_catalog_is_short_and_dated(path):
    """About ten lines of YAML each, and every definition says where its facts come from."""
    lines = path.read_text().splitlines()
    assert all(len(line) <= 130 for line in lines)
    assert lines[0].startswith("# ")
    assert sum(not line.lstrip().startswith("#") for line in lines) <= 40
    assert raw_of(path.stem)["title"]
