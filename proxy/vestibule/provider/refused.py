"""What the language refuses on purpose, and why: said in words, because "unknown key" would send people looking.

None of it is a gap. Each way either shows the user's password to a third party, or hands out tokens that nothing binds
to the browser that asked for them, or is another protocol that a gateway in front of this one can translate.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_OTHER = "another protocol: put a broker that speaks it (Keycloak, Dex, Authentik) between, and use its OpenID Connect"

KEYS: dict[str, str] = {
    "oauth1": f"OAuth 1 is refused: {_OTHER}",
    "saml": f"SAML is refused: {_OTHER}",
    "cas": f"CAS is refused: {_OTHER}",
    "webhook": "codes that arrive by webhook are refused: nothing binds them to a browser (RFC 6749 §10.12)",
    "jsonp": "JSONP is refused: such a reply is a program, not a document; ask the provider for JSON",
    "password": "user passwords are refused: only the provider may see them (RFC 9700 §2.4)",
    "admin_consent": "admin consent without a code is refused: nothing proves who came back (RFC 6749 §10.12)",
}
_SYNONYMS = {
    "oauth_1": "oauth1",
    "oauth1.0": "oauth1",
    "oauth1.0a": "oauth1",
    "saml2": "saml",
    "username": "password",
    "passwd": "password",
    "client_credentials": "admin_consent",
    "adminconsent": "admin_consent",
    "token": "implicit",
}
_VALUES = {
    ("callback", "mode"): {"webhook", "jsonp", "admin_consent", "cas", "saml"},
    ("token", "form", "grant_type"): {"password"},
    ("token", "json", "grant_type"): {"password"},
    ("token", "query", "grant_type"): {"password"},
}
_KINDS = frozenset({"protocol", "type", "auth_mode", "format", "mode", "kind"})
"""Keys that the language has not, and whose value is what was meant."""
_PASSWORD = re.compile(r"(?i)pass(?:word|wd|phrase)")


def refusal_of_key(key: str, value: object = None) -> str | None:
    """For a key that the language does not know."""
    for word in (key, value if key.lower() in _KINDS else None):
        if isinstance(word, str):
            found = KEYS.get(_SYNONYMS.get(word.lower(), word.lower()))
            if found:
                return found
    return None


def refusals(whole: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """For known keys with values that mean one of these ways."""
    for path, values in _VALUES.items():
        value = _at(whole, path)
        if isinstance(value, str) and value.lower() in values:
            yield path, KEYS[value.lower()]
    query = _at(whole, ("authorize", "query"))
    for name, value in query.items() if isinstance(query, dict) else ():
        if _PASSWORD.search(f"{name} {value}"):
            yield ("authorize", "query", name), KEYS["password"]
    response_type = _at(whole, ("authorize", "query", "response_type"))
    if isinstance(response_type, str) and "${" not in response_type and "code" not in response_type.split():
        message = "a login without a code is refused: tokens in the URL are seen by too many (RFC 9700 §2.1.2)"
        yield ("authorize", "query", "response_type"), message


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        document = document.get(step) if isinstance(document, dict) else None
    return document
