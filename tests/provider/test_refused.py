"""What the language refuses on purpose says so, and what to do instead."""

import pytest

from provider.driver import PLAIN, compiled, problems


@pytest.mark.parametrize(
    ("over", "place", "says"),
    [
        ({"oauth1": {}}, "oauth1", "OAuth 1 is refused"),
        ({"protocol": "oauth1"}, "protocol", "OAuth 1 is refused"),
        ({"auth_mode": "OAUTH_1.0A"}, "auth_mode", "unknown key"),
        ({"auth_mode": "OAuth1.0a"}, "auth_mode", "OAuth 1 is refused"),
        ({"saml": {"metadata": "x"}}, "saml", "SAML is refused"),
        ({"type": "saml2"}, "type", "SAML is refused"),
        ({"cas": {}}, "cas", "CAS is refused"),
        ({"token": {"format": "jsonp"}, "refresh": "none"}, "token.format", "JSONP is refused"),
        ({"callback": {"webhook": "/x"}}, "callback.webhook", "webhook are refused"),
        ({"authorize": {"query": {"password": "x"}}}, "authorize.query.password", "passwords are refused"),
        (
            {"params": {"password": {}}, "authorize": {"query": {"p": "${p.password}"}}},
            "authorize.query.p",
            "passwords",
        ),
        ({"token": {"form": {"grant_type": "password"}}}, "token.form.grant_type", "passwords are refused"),
        ({"token": {"json": {"grant_type": "password"}}}, "token.json.grant_type", "passwords are refused"),
        ({"authorize": {"query": {"response_type": "token"}}}, "authorize.query.response_type", "without a code"),
        ({"authorize": {"query": {"response_type": "id_token"}}}, "authorize.query.response_type", "without a code"),
        ({"admin_consent": True}, "admin_consent", "admin consent without a code is refused"),
    ],
    ids=str,
)
def test_refused_on_purpose(over, place, says):
    """OAuth 1, SAML, CAS, JSONP, codes by webhook, passwords, the implicit grant, admin consent without a code."""
    found = problems(PLAIN, over=over)
    assert [path for path, _ in found] == [place]
    assert says in found[0][1]


@pytest.mark.parametrize(
    ("mode", "says"),
    [("webhook", "webhook"), ("admin_consent", "admin consent"), ("jsonp", "JSONP"), ("cas", "CAS"), ("saml", "SAML")],
)
def test_callback_modes_that_are_refused(mode, says):
    """The type check knows two modes; these are told apart from a typing error."""
    found = problems(PLAIN, over={"callback": {"mode": mode}})
    assert any(path == "callback.mode" and says in message for path, message in found)


def test_hybrid_flow_is_a_code_flow():
    """OIDC Core §3.3: with `code` in it there is a code."""
    assert compiled(PLAIN, {"authorize": {"query": {"response_type": "code id_token"}}})
