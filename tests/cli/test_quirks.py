"""The last column of `providers list`: a word for each way in which a definition leaves the standards."""

import pytest

from vestibule.cli.quirks import needs, quirks
from vestibule.provider.defaults import complete, merge

PLAIN = {
    "title": "Acme",
    "authorize": {"url": "https://acme.com/a"},
    "token": {"url": "https://acme.com/t"},
    "identity": {"calls": {"me": {"url": "https://acme.com/me"}}, "map": {"sub": "me.id"}},
}


def test_a_plain_provider_has_none():
    assert quirks(complete(PLAIN)) == []
    assert quirks(complete({"oidc": {"issuer": "https://acme.com"}})) == []


@pytest.mark.parametrize(
    ("change", "quirk"),
    [
        ({"pkce": "off"}, "no PKCE"),
        ({"pkce": "plain"}, "plain PKCE"),
        ({"client": {"auth": "basic"}}, "basic authentication"),
        ({"client": {"auth": "jwt_as_secret"}}, "JWT as secret"),
        ({"client": {"basic_user": "${client.secret}"}}, "secret as user name"),
        ({"redirect": {"https_only": True}}, "https redirects only"),
        ({"oidc": {"issuer": "https://a.com/${id.tid}"}}, "issuer by tenant"),
        ({"oidc": {"issuer": "https://a.com", "nonce": "off"}}, "no nonce"),
        ({"scopes": {"sep": ","}}, "scope separator"),
        ({"scopes": {"param": "user_scope"}}, "scope parameter"),
        ({"scopes": {"param": None}}, "no scopes"),
        ({"scopes": {"raw": True}}, "scopes as they are"),
        ({"authorize": {"query": {"prompt": "consent"}}}, "sends prompt"),
        ({"authorize": {"fragment": "/oauth"}}, "parameters after #"),
        ({"authorize": {"par": {"url": "https://acme.com/par"}}}, "pushed requests"),
        ({"state": {"max": 500}}, "limits state"),
        ({"callback": {"mode": "form_post"}}, "form_post"),
        ({"callback": {"code": "auth_code"}}, "callback names"),
        ({"callback": {"verify": {"param": "hmac", "key": "${client.secret}"}}}, "signed callback"),
        ({"params": {"host": {"from": "t.host", "pattern": "a"}}}, "captured fields"),
        ({"token": {"json": {}}}, "JSON token request"),
        ({"token": {"method": "GET"}}, "token request by GET"),
        ({"token": {"form": {"client_id": None, "client_key": "${client.id}"}}}, "token request with client_key"),
        ({"token": {"ok": "ok"}}, "errors of its own"),
        ({"token": {"out": "data"}}, "token fields"),
        ({"token": {"lifetime": 7200}}, "unsaid lifetime"),
        ({"exchange": {"long": {"url": "https://acme.com/x"}}}, "exchanges"),
        ({"refresh": "none"}, "no refresh"),
        ({"refresh": {"url": "https://acme.com/r"}}, "refresh at another URL"),
        ({"refresh": {"rotate": "keep"}}, "refresh rotation"),
        ({"refresh": {"form": {"refresh_token": None, "access_token": "${access_token}"}}}, "refresh by access token"),
        ({"revoke": {"url": "https://acme.com/r", "method": "DELETE"}}, "revocation"),
        ({"identity": {"calls": {"me": {"method": "POST", "json": {"query": "{ me { id } }"}}}}}, "GraphQL"),
        ({"identity": {"calls": {"me": {"paginate": "link"}}}}, "pages"),
        ({"identity": {"map": {"tenant": "me.team"}}}, "subject by tenant"),
        ({"identity": {"map": {"name": "cb.user"}}}, "name in the callback"),
        ({"identity": {"allow": "me.staff"}}, "limits who may enter"),
        ({"api": {"header": {"X-Token": "${access_token}"}}}, "token header"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_quirk_has_a_word(change, quirk):
    assert quirk in quirks(complete(merge(PLAIN, change)))


def test_needs_tell_what_the_config_has_to_give():
    params = {"tenant": {"required": True}, "base": {"default": "x"}, "host": {"from": "t.h", "required": True}}
    assert needs(complete(merge(PLAIN, {"params": params}))) == ["params.tenant", "client.id + secret"]
    assert needs(complete(merge(PLAIN, {"client": {"auth": "none"}}))) == ["client.id"]
    assert needs(complete(merge(PLAIN, {"client": {"auth": "private_key_jwt"}}))) == ["client.id + key"]
