"""What to change when a provider and its definition disagree: by the provider's own code, else by the failure's slug.

One table, because whoever reads one of these sentences has a YAML file open and wants the line to look at.
"""

import re

from vestibule.provider.flow import ProviderFailed

_CREDENTIALS = (
    "The provider does not accept these client credentials. Compare id and secret with its page for your app; if they "
    "are right, it wants them in another form: try `client: {auth: basic}` or `client: {auth: post}`."
)

CODES: dict[str, str] = {
    "invalid_client": _CREDENTIALS,
    "unauthorized_client": (
        "The app may not use this flow. Allow the authorization code grant on the provider's page for it. "
    ),
    "incorrect_client_credentials": _CREDENTIALS,
    "bad_client_secret": _CREDENTIALS,
    "invalid_client_id": _CREDENTIALS,
    "redirect_uri_mismatch": "Register the redirect URI exactly as it is printed here, to the last character.",
    "bad_redirect_uri": "Register the redirect URI exactly as it is printed here, to the last character.",
    "invalid_scope": "The provider does not know one of the scopes, or the app may not ask for it: see `scopes`.",
    "invalid_request": (
        "The provider misses a parameter, or minds one: compare `vestibule providers explain` with its documents."
    ),
    "unsupported_grant_type": "The token endpoint does not know grant_type: is `token.url` right?",
    "unsupported_response_type": (
        "Allow response_type=code (the authorization code flow) on the provider's page for the app. "
    ),
    "invalid_grant": (
        "The code was not accepted: used twice, expired, or the redirect URI or verifier differs (`pkce`). "
    ),
    "access_denied": (
        "Somebody said no: the person, the provider's rules for the app, or an administrator's approval is missing."
    ),
}
"""What providers say, RFC 6749 §4.1.2.1 and §5.2 and GitHub's."""

SLUGS: dict[str, str] = {
    "provider_connect": "Nothing answers there. Check the host in `params` and whether this machine may reach it.",
    "provider_tls": "The certificate is not trusted. Check the host; a private CA has to be installed on this machine.",
    "provider_timeout": "No answer in time. Try again; if it stays so, look for a firewall that drops packets.",
    "provider_too_large": "The reply is larger than any reply of this kind: is the URL right?",
    "provider_blocked": (
        "A callback chose a host that is not public. Set the parameter in the config if that host is right. "
    ),
    "provider_protocol": "What answers there does not speak HTTP as it should: is the URL right?",
    "provider_unavailable": "The provider is in trouble or limits requests. Wait a minute and try again.",
    "provider_status": "The provider refused without an error code: compare the request above with its documents.",
    "provider_not_ok": "The definition's `ok` does not hold for this reply: compare both.",
    "discovery_issuer": "Put the issuer into the config exactly as the discovery document names it.",
    "metadata_unreadable": (
        "There is no discovery document. Check the issuer, or write the URLs down: `oidc: {discovery: off}`. "
    ),
    "endpoint_unknown": "A URL could not be filled in: discovery or a reply lacks what its template names.",
    "endpoint_not_allowed": "That URL must not be called: https, without credentials or fragment.",
    "request_uri_missing": "The pushed request was not taken: see `authorize.par`, or delete it with null.",
    "code_missing": "The callback has its code under another name: set `callback.code`, or `callback.mode: form_post`.",
    "code_malformed": "The callback's code is nothing that could be sent back: is `callback.code` right?",
    "callback_issuer": "Another issuer answered. If it is the right one, set `callback.iss`.",
    "callback_signature": "The callback's signature does not fit: see `callback.verify`, above all its key.",
    "captured_value": "A value of the provider's is not what its parameter's `pattern` admits: compare both.",
    "captured_value_missing": "A required parameter did not come: see its `from`, and the fields in the replies above.",
    "access_token_missing": "The reply has its token under another name: set `token.out`; the fields are shown above.",
    "token_reply_unreadable": "The token endpoint answered neither JSON nor a form: is `token.url` right?",
    "id_token_missing": "No id_token came: ask for the scope openid, or say `oidc: {id_token: optional}`.",
    "id_token_nonce": "The id_token does not repeat the nonce. If the provider never does, say `oidc: {nonce: off}`.",
    "id_token_issuer": "The id_token names another issuer: set `oidc.issuer` to it; it may use `${id.…}`.",
    "id_token_audience": "The id_token is for somebody else: set `oidc.audience`, or use the right client id.",
    "id_token_signature": "No key of the key set made that signature: see `oidc.jwks` and `oidc.algs`.",
    "id_token_expired": "Is the clock of this machine right? The id_token had ended when it came.",
    "id_token_issued_at": "Is the clock of this machine right? The id_token is from the future.",
    "userinfo_subject": (
        "userinfo speaks of another subject than the id_token. Delete the call: `identity: {calls: {userinfo: null}}`."
    ),
    "identity_reply_unreadable": "An identity call was answered without a document: see its URL and `Accept`.",
    "identity_not_allowed": "The definition's `identity.allow` does not hold for this person.",
    "identity_malformed": (
        "A field of `identity.map` leads to something of another kind: compare it with the reply above. "
    ),
    "subject_missing": "`identity.map.sub` leads to nothing: compare it with the replies above.",
    "tenant_missing": "`identity.map.tenant` leads to nothing: compare it with the replies above.",
    "page_not_an_array": "A page is no list: say where it holds one, `paginate: {items: …}`.",
    "page_on_another_origin": "The next page is on another host, and the token is not sent there.",
    "template_unrenderable": (
        "A value could not be written into a request: compare the definition with the reply before it. "
    ),
    "invalid_token": (
        "The provider does not take its own token there: see `api.header`, and whether the scopes allow the call."
    ),
}


def advice(failed: ProviderFailed, code: str | None = None) -> str:
    """`code` is the error code of the last reply, if it had one."""
    if code in CODES:
        return CODES[str(code)]
    if failed.slug in SLUGS:
        return SLUGS[failed.slug]
    if failed.slug in CODES:
        return CODES[failed.slug]
    if failed.slug.endswith("_malformed"):
        return f"`{failed.slug.removesuffix('_malformed')}` of the token reply is of another kind: see `token.out`."
    if failed.kind == "unavailable":
        return "Wait a minute and try again."
    return "Compare the last request and its reply above with the provider's documents."


def readable(detail: str) -> str:
    """A failure's detail is written for logs; this is the same for people."""
    detail = re.sub(r"HttpCall\((\w+ .*?)\) answered HttpReply\((\d+), \d+ bytes\)", r"\1 answered \2", detail)
    return re.sub(r"HttpCall\((\w+ .*?)\)", r"\1", detail)
