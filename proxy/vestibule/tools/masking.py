"""What may be shown of a request and its reply, in a terminal whose scrollback is copied into tickets.

A value is masked for any of three reasons, because each of them alone has holes: it is known to be a secret (and then
in all of its encodings, wherever it turns up); its name says so; or it looks like one, being long and of mixed
characters. The last is for what no name gives away, and costs readability only.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

_SHOWN = 4
_LEAST_SHOWN = 20
"""Of a shorter text, four characters would be too much of it."""
_LEAST_KNOWN = 4
"""A shorter secret is part of too many words to be hidden in them; its name still hides it."""
_NAMES = re.compile(
    r"(?i)(?:^|[_.\-\s])(?:(?:access|refresh|id|bearer|auth|session|csrf|xsrf)_?)?(?:token|jwt)(?:s|_hint)?$"
    r"|secret|passw|passphrase|assertion|credential|signature|authorization|cookie|private|proof"
    r"|^(?:code|state|nonce|hmac|sig|key|pin|otp|device_code|user_code|auth_code|code_verifier|request_uri)$"
    r"|api_?key|_key$|(?:access|refresh|id)token$|ticket$"
)
_PUBLIC_NAMES = re.compile(
    r"(?i)^(?:token_type|scope|scopes|grant_type|response_type|response_mode|client_id|redirect_uri|expires_(?:in|at)|error"
    r"|error_(?:code|uri)|code_challenge|code_challenge_method|client_assertion_type|token_type_hint|accept|content-type)$"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WORD = re.compile(r"[A-Za-z0-9_\-.+/=~%]{16,}")
_URL = re.compile(r"(https?://[^/?#\s\"'<>]+)([^?#\s\"'<>]*)(\?[^#\s\"'<>]*)?(#[^\s\"'<>]*)?")
_MOST_LINES_CHARS = 400


def mask(text: str) -> str:
    """`gho_…36 more`."""
    return f"{text[:_SHOWN]}…{len(text) - _SHOWN} more" if len(text) >= _LEAST_SHOWN else f"…{len(text)} characters"


class Masker:
    """Knows the secrets of one conversation; `learn` adds those that replies bring."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        self._known: dict[str, str] = {}
        self.learn(*secrets)

    def learn(self, *secrets: str | None) -> None:
        for secret in secrets:
            if secret is None or len(secret) < _LEAST_KNOWN:
                continue
            for form in _encodings(secret):
                self._known[form] = mask(secret)
        self._known = dict(sorted(self._known.items(), key=lambda item: -len(item[0])))

    def known(self, text: str) -> str:
        """Only what is known to be a secret: for values that were meant to be read, ids above all."""
        for form, shown in self._known.items():
            text = text.replace(form, shown)
        return text

    def text(self, text: str) -> str:
        """Free text: an error description, a page, a log line."""
        masked = _URL.sub(self._address, self.known(text))
        return _WORD.sub(lambda word: _unless_public(word[0]), masked)

    def value(self, name: str, value: str) -> str:
        """A parameter, a header or a field by its name."""
        if _PUBLIC_NAMES.search(name):
            return self.known(value)
        if not _NAMES.search(name):
            return self.text(value)
        scheme, space, rest = value.partition(" ")  # Authorization: Bearer …
        return f"{scheme} {mask(rest)}" if space and rest and scheme.isalpha() else mask(value) if value else value

    def pairs(self, pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple((name, self.value(name, value)) for name, value in pairs)

    def document(self, document: Any, name: str = "") -> Any:
        """The same document with the same shape; a secret's numbers are masked like its texts."""
        match document:
            case Mapping():
                return {str(key): self.document(value, _inherited(name, str(key))) for key, value in document.items()}
            case list():
                return [self.document(item, name) for item in document]
            case str():
                return self.value(name, document)
            case int() | float() if not isinstance(document, bool):
                shown = self.value(name, str(document))
                return document if shown == str(document) else shown
        return document

    def body(self, body: bytes, document: Any) -> str:
        """As JSON if it was understood, else its beginning."""
        if document is not None:
            return msgspec.json.format(msgspec.json.encode(self.document(document)), indent=2).decode()
        text = " ".join(re.sub(r"<[^>]*>", " ", body.decode(errors="replace")).split())
        return self.text(text)[:_MOST_LINES_CHARS]

    def _address(self, url: re.Match[str]) -> str:
        """A path may hold a secret (webhooks do), a query mostly does."""
        path = "/".join(_unless_public(part) for part in (url[2] or "").split("/"))
        return f"{url[1]}{path}" + ("?…" if url[3] else "") + ("#…" if url[4] else "")


def _inherited(above: str, name: str) -> str:
    """What is inside of `credentials` is one; but `token: {type: …}` names its own."""
    return above if _NAMES.search(above) and not _PUBLIC_NAMES.search(name) else name


def _unless_public(word: str) -> str:
    """A long word with letters and digits, or a very long one, is nobody's language."""
    if "…" in word or _UUID.fullmatch(word) or re.fullmatch(r"[0-9.:TZ+\-]+", word):
        return word
    parts = re.split(r"[./]", word)
    longest = max(parts, key=len)
    mixed = re.search(r"[0-9]", longest) and re.search(r"[A-Za-z]", longest)
    return mask(word) if (len(longest) >= 16 and mixed) or len(longest) >= 40 else word  # noqa: PLR2004


def _encodings(secret: str) -> set[str]:
    """As it is, in a URL, in JSON, and in base64."""
    raw = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        msgspec.json.encode(secret).decode()[1:-1],
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        raw.hex(),
    }
