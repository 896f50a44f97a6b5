"""A definition in the fewest lines, and why some metadata cannot become one."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vestibule import catalog
from vestibule.model import Secret
from vestibule.provider.defaults import merge
from vestibule.provider.provider import compile_provider
from vestibule.reading import parse
from vestibule.tools.derivation import Underivable, derive, metadata_url

ISSUER = "https://id.acme.com"
URL = f"{ISSUER}/.well-known/openid-configuration"
GOOD = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/jwks",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "response_types_supported": ["code"],
    "code_challenge_methods_supported": ["S256"],
    "scopes_supported": ["openid", "profile", "email", "offline_access"],
}


def derived(change=None, **options):
    metadata = {name: value for name, value in (GOOD | (change or {})).items() if value is not None}
    return derive(metadata, url=URL, name=None, today="2026-11-23", **options)


def lines(change=None):
    return [line for line in derived(change).text.splitlines() if not line.startswith("#")]


PLAIN = ["extends: oidc", "title: Acme", f'params: {{issuer: {{default: "{ISSUER}"}}}}']


def test_a_standard_provider_is_three_lines():
    assert lines() == PLAIN
    assert derived().text.startswith(f"# Acme: {URL}, read 2026-11-23.\n")


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"]}, []),
        ({"token_endpoint_auth_methods_supported": ["client_secret_post"]}, ["client: {auth: post}"]),
        ({"token_endpoint_auth_methods_supported": ["client_secret_jwt"]}, ["client: {auth: client_secret_jwt}"]),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, ["client: {auth: private_key_jwt}"]),
        (
            {
                "token_endpoint_auth_methods_supported": ["private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
            },
            ["client: {auth: private_key_jwt, jwt: {alg: ES256}}"],
        ),
        ({"token_endpoint_auth_methods_supported": ["none"]}, ["client: {auth: none}"]),
        ({"code_challenge_methods_supported": ["plain"]}, ["pkce: plain"]),
        ({"code_challenge_methods_supported": []}, ["pkce: off"]),
        ({"code_challenge_methods_supported": None}, []),
        ({"scopes_supported": ["openid", "email"]}, ["scopes: {default: [openid, email]}"]),
        ({"scopes_supported": None}, []),
        ({"response_modes_supported": ["form_post"]}, ["callback: {mode: form_post}"]),
    ],
)
def test_only_what_differs_is_written(change, more):
    assert lines(change) == [*PLAIN, *more]


def test_an_issuer_that_differs_by_tenant():
    """Microsoft's common endpoint: the subject is an id within a tenant."""
    issuer = f"{ISSUER}/{{tenantid}}/v2.0"
    assert lines({"issuer": issuer})[2:] == [
        f'oidc: {{issuer: "{ISSUER}/${{id.tid}}/v2.0", discovery: "{URL}"}}',
        "params: {issuer: null}",
        "identity: {map: {tenant: id.tid}}",
    ]


@pytest.mark.parametrize(
    "change",
    [{}, {"issuer": f"{ISSUER}/{{tenantid}}/v2.0"}, {"token_endpoint_auth_methods_supported": ["client_secret_jwt"]}],
)
def test_what_is_written_compiles(change):
    raw = parse(derived(change).text, "derived.yaml").value
    parent = catalog.load(raw.pop("extends"), catalog.directory()).raw
    compile_provider("acme", merge(parent, raw), client_id="id", client_secret=Secret("x" * 32))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"issuer": None}, "names no issuer"),
        ({"issuer": "https://evil.com"}, "ask again with that issuer"),
        ({"token_endpoint": None}, "token_endpoint is missing"),
        ({"authorization_endpoint": "http://id.acme.com/authorize"}, "must be https"),
        ({"response_types_supported": ["id_token"]}, "lacks `code`"),
        ({"id_token_signing_alg_values_supported": ["HS256"]}, "HS256 only"),
        ({"token_endpoint_auth_methods_supported": ["tls_client_auth"]}, "takes only tls_client_auth"),
        ({"response_modes_supported": ["fragment"]}, "query or form_post"),
    ],
)
def test_metadata_that_cannot_become_a_definition(change, told):
    with pytest.raises(Underivable, match=told):
        derived(change)


@pytest.mark.parametrize(
    ("issuer", "url"),
    [
        (ISSUER, URL),
        (f"{ISSUER}/", URL),
        (URL, URL),
        ("id.acme.com", URL),
        ("https://a.com/realms/x", "https://a.com/realms/x/.well-known/openid-configuration"),
    ],
)
def test_the_issuer_may_be_written_as_people_find_it(issuer, url):
    assert metadata_url(issuer) == url


@pytest.mark.parametrize("issuer", ["http://id.acme.com", "https://u:p@id.acme.com", "https://", "file:///etc/passwd"])
def test_attack_an_issuer_that_must_not_be_asked(issuer):
    with pytest.raises(Underivable):
        metadata_url(issuer)


@given(st.text(max_size=60), st.sampled_from(["scopes_supported", "token_endpoint_auth_methods_supported"]))
def test_attack_a_stranger_cannot_write_yaml(text, member):
    """What a document says reaches the file as a comment at most."""
    try:
        found = lines({member: ["client_secret_basic", "openid", "profile", "email", text]})
    except Underivable:
        return
    assert found == PLAIN


def test_attack_a_quote_in_the_issuer():
    with pytest.raises(Underivable):
        derive({**GOOD, "issuer": f'{ISSUER}/"}}\nextends: evil'}, url=f'{URL}"', name=None, today="")


@pytest.mark.parametrize(
    "issuer",
    [
        "https://evil.example/{tenantid}",
        "http://id.acme.com/{tenantid}",
        "https://id.acme.com@evil.example/{tenantid}",
        "https://id.acme.com:8443/{tenantid}",
        "https://{tenantid}.id.acme.com",
        "https://id.acme.com/{tenantid}/${id.iss}",
        'https://id.acme.com/{tenantid}", discovery: "https://evil.example"}\nclient: {"auth": "none',
    ],
)
def test_attack_an_issuer_that_differs_by_tenant_and_by_host(issuer):
    """It cannot equal what was asked, so at least its scheme and host do."""
    with pytest.raises(Underivable):
        derived({"issuer": issuer})


@pytest.mark.parametrize("end", ['"', '"}', "\\", "'", "}"])
def test_attack_a_quote_in_the_issuer_of_a_tenant(end):
    """Whatever is no reason to refuse it is written as one text."""
    try:
        text = derived({"issuer": f"{ISSUER}/{{tenantid}}/{end}"}).text
    except Underivable:
        return
    assert yaml.safe_load(text)["oidc"] == {"issuer": f"{ISSUER}/${{id.tid}}/{end}", "discovery": URL}
