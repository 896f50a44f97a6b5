"""Golden facts and real requests as flat lines of text, so that they can be compared and the difference can be read."""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from jwcrypto.common import JWException
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from vestibule.model import HttpReply, Identity

SECRET = "CLIENT_SECRET"
_FIELDS = ("email", "name", "login", "picture")


def parts_of_url(url: str) -> dict[str, str]:
    """The URL and its query. A fragment that routes belongs to the URL, what follows it to the query."""
    base, fragment = url.partition("#")[::2]
    query = urlsplit(base).query
    base = base.partition("?")[0]
    if fragment:
        route, _, query = fragment.partition("?")
        base = f"{base}#{route}"
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    assert len(pairs) == len(dict(pairs)), "a parameter is sent twice"
    return {"url": base} | flat("query", dict(pairs))


def flat(name: str, value: Any) -> dict[str, str]:
    if isinstance(value, dict) and (value or "." in name):
        return {path: text for key, inner in value.items() for path, text in flat(f"{name}.{key}", inner).items()}
    if isinstance(value, dict):
        return {}
    if isinstance(value, list):
        return {
            path: text for index, inner in enumerate(value) for path, text in flat(f"{name}.{index}", inner).items()
        }
    return {name: value if isinstance(value, str) else json.dumps(value)}


def lines(parts: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {parts[name]}" for name in sorted(parts)]


def replaced(text: Any, placeholders: Mapping[str, str]) -> str:
    text = str(text)
    for name, value in placeholders.items():
        text = text.replace(name, value)
    return text


def http_reply(facts: Mapping[str, Any]) -> HttpReply:
    headers = {name.lower(): str(value) for name, value in facts.get("headers", {}).items()}
    body, kind = b"", "text/plain"
    if "json" in facts:
        body, kind = json.dumps(facts["json"]).encode(), "application/json"
    elif "form" in facts:
        body, kind = urlencode(facts["form"]).encode(), "application/x-www-form-urlencoded"
    elif "text" in facts:
        body = str(facts["text"]).encode()
    return HttpReply(status=facts.get("status", 200), headers={"content-type": kind} | headers, body=body)


def person_wanted(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "subject": facts["subject"],
        "tenant": facts.get("tenant") or "",
        "email_verified": facts.get("email_verified", False),
        "groups": list(facts.get("groups") or ()),
    } | {name: facts.get(name) for name in _FIELDS}


def person(identity: Identity) -> dict[str, Any]:
    return {
        "subject": identity.subject,
        "tenant": identity.tenant,
        "email_verified": identity.email_verified,
        "groups": list(identity.groups or ()),
    } | {name: getattr(identity, name) for name in _FIELDS}


def with_hmac(params: Mapping[str, str]) -> dict[str, str]:
    """shopify.dev "Verify the installation request": hex HMAC-SHA256 of the other parameters, sorted, joined by `&`."""
    name = next(name for name, value in params.items() if value == "HMAC")
    message = "&".join(f"{key}={value}" for key, value in sorted(params.items()) if key != name)
    return {**params, name: hmac.new(SECRET.encode(), message.encode(), "sha256").hexdigest()}


def verifies(jws: JWS, key: JWK) -> bool:
    try:
        jws.verify(key)
    except JWException:
        return False
    return True


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
