"""A definition in the fewest lines, from an OpenID Provider's metadata (OIDC Discovery §3, RFC 8414 §2).

`extends: oidc` already says what a standard provider does and reads its addresses from discovery at run time, so only
what differs is written down. A capability that the metadata does not mention is left as it is: the list of PKCE
methods is missing from many documents of providers that take PKCE, and others ignore the parameter (RFC 6749 §3.1).
"""

import json
import re
from collections.abc import Mapping
from typing import Any, get_args
from urllib.parse import urlsplit

from msgspec import Struct

from vestibule.provider.definition import SigningAlg
from vestibule.provider.urls import endpoint_problem, origin

WELL_KNOWN = "/.well-known/openid-configuration"
_ALGS = get_args(SigningAlg)
_JWT_ALGS = ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")
_DEFAULT_SCOPES = ("openid", "profile", "email")
_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "client_secret_jwt", "none")
_TEMPLATE = re.compile(r"\{tenant_?id\}", re.IGNORECASE)


class Underivable(Exception):
    """Why these metadata cannot become a definition, in words for a person."""


class Derived(Struct, frozen=True, kw_only=True):
    name: str
    text: str
    """YAML, with a comment on what was found."""
    found: tuple[str, ...]
    missing: tuple[str, ...]


def metadata_url(issuer: str) -> str:
    """OIDC Discovery §4.1; the address of the document itself is taken too. Raises Underivable."""
    base = issuer.partition(WELL_KNOWN)[0]
    base = (base if "://" in base else f"https://{base}").rstrip("/")
    if problem := endpoint_problem(base):
        raise Underivable(f"{base} {problem}")
    return base + WELL_KNOWN


def derive(metadata: Mapping[str, Any], *, url: str, name: str | None, today: str) -> Derived:
    """`url` is where the metadata came from. Raises Underivable."""
    issuer = metadata.get("issuer")
    asked = url.removesuffix(WELL_KNOWN)
    if not isinstance(issuer, str) or not issuer:
        raise Underivable("the document names no issuer, so it is no OpenID Connect discovery document")
    templated = _TEMPLATE.search(issuer) is not None
    if issuer.rstrip("/") != asked and not templated:
        raise Underivable(f"the document is {issuer}'s and not {asked}'s; ask again with that issuer")
    if templated and (endpoint_problem(issuer) or "$" in issuer or origin(issuer) != origin(asked)):
        raise Underivable(f"the issuer {issuer} is no address on the host of {asked}")
    for endpoint in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        value = metadata.get(endpoint)
        if not isinstance(value, str) or (problem := endpoint_problem(value)):
            told = "is missing" if not isinstance(value, str) else f"{value} {problem}"
            raise Underivable(f"{endpoint} {told}, so nobody can sign in there with OpenID Connect's code flow")
    if "code" not in _listed(metadata, "response_types_supported", ["code"]):
        raise Underivable("response_types_supported lacks `code`; logins without a code are refused (RFC 9700 §2.1.2)")
    reader = _Reader(metadata)
    lines = ["extends: oidc", f"title: {_scalar(name or _title(issuer))}"]
    if templated:
        template = _TEMPLATE.sub("${id.tid}", issuer)
        lines.append(f"oidc: {{issuer: {json.dumps(template)}, discovery: {json.dumps(url)}}}")
        lines += ["params: {issuer: null}", "identity: {map: {tenant: id.tid}}"]
        reader.found.append("the issuer differs by tenant, so a person is a subject within a tenant")
    else:
        lines.append(f"params: {{issuer: {{default: {json.dumps(issuer)}}}}}")
    reader.algs()
    lines += [*reader.client(), *reader.pkce(), *reader.scopes(), *reader.callback()]
    reader.automatic()
    comment = [f"{name or _title(issuer)}: {url}, read {today}."]
    comment += [f"Found: {'; '.join(reader.found)}."] if reader.found else []
    comment += [f"Not found: {'; '.join(reader.missing)}."] if reader.missing else []
    text = "".join(f"# {line}\n" for paragraph in comment for line in _wrapped(paragraph))
    return Derived(
        name=name or _slug(issuer),
        text=text + "\n".join(lines) + "\n",
        found=tuple(reader.found),
        missing=tuple(reader.missing),
    )


class _Reader:
    """Each method gives the lines that differ from `extends: oidc`, and notes what it saw."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata
        self.found: list[str] = []
        self.missing: list[str] = []

    def client(self) -> list[str]:
        """OIDC Discovery §3: without the list, basic is what the provider takes."""
        methods = _listed(self._metadata, "token_endpoint_auth_methods_supported", ["client_secret_basic"])
        method = next((known for known in _METHODS if known in methods), None)
        if method is None:
            raise Underivable(f"the token endpoint takes only {', '.join(methods)}; this gateway has none of them")
        self.found.append(f"client authentication {', '.join(methods)}")
        if method == "client_secret_basic":
            return []
        if method == "private_key_jwt":
            algs = _listed(self._metadata, "token_endpoint_auth_signing_alg_values_supported", ["RS256"])
            alg = next((known for known in _JWT_ALGS if known in algs), None)
            if alg is None:
                raise Underivable(f"client assertions can be signed with {', '.join(algs)} only")
            return ["client: {auth: private_key_jwt" + (f", jwt: {{alg: {alg}}}" if alg != "RS256" else "") + "}"]
        return [f"client: {{auth: {'post' if method == 'client_secret_post' else method}}}"]

    def pkce(self) -> list[str]:
        """RFC 8414 §2 has a missing list mean no support; what that means in practice is said in the comment."""
        if "code_challenge_methods_supported" not in self._metadata:
            self.missing.append("PKCE methods, so it is sent (S256); should the login be refused, say `pkce: off`")
            return []
        methods = _listed(self._metadata, "code_challenge_methods_supported", [])
        if "S256" in methods:
            self.found.append("PKCE S256")
            return []
        self.missing.append("PKCE S256")
        return ["pkce: plain" if "plain" in methods else "pkce: off"]

    def scopes(self) -> list[str]:
        supported = _listed(self._metadata, "scopes_supported", [])
        if not supported:
            self.missing.append(
                "the list of scopes, so openid, profile and email are asked for, and not offline_access"
            )
            return []
        if "offline_access" in supported:
            self.found.append("offline_access for a refresh token")
        else:
            self.missing.append("offline_access; see its documents for what a refresh token takes")
        default = [scope for scope in _DEFAULT_SCOPES if scope in supported or scope == "openid"]
        return [] if len(default) == len(_DEFAULT_SCOPES) else [f"scopes: {{default: [{', '.join(default)}]}}"]

    def callback(self) -> list[str]:
        modes = _listed(self._metadata, "response_modes_supported", ["query"])
        if "query" in modes:
            return []
        if "form_post" not in modes:
            raise Underivable(f"the browser comes back by {', '.join(modes)} only; query or form_post is needed")
        self.found.append("the callback is a form_post")
        return ["callback: {mode: form_post}"]

    def algs(self) -> None:
        algs = _listed(self._metadata, "id_token_signing_alg_values_supported", ["RS256"])
        if not any(alg in _ALGS for alg in algs):
            raise Underivable(f"its id_tokens are signed with {', '.join(algs)} only; {', '.join(_ALGS)} are believed")

    def automatic(self) -> None:
        """What discovery says at run time and no line has to repeat."""
        for member, told in (
            ("userinfo_endpoint", "userinfo"),
            ("revocation_endpoint", "revocation"),
        ):
            (self.found if isinstance(self._metadata.get(member), str) else self.missing).append(told)
        if self._metadata.get("require_pushed_authorization_requests") is True:
            self.found.append("pushed requests are demanded and will be sent (RFC 9126)")
        if self._metadata.get("authorization_response_iss_parameter_supported") is True:
            self.found.append("the callback names its issuer (RFC 9207)")
        claims = _listed(self._metadata, "claims_supported", [])
        if claims:
            lacking = [claim for claim in ("email", "email_verified", "name") if claim not in claims]
            self.missing += [f"the claims {', '.join(lacking)}"] if lacking else []
            self.found += ["the claim groups"] if "groups" in claims else []


def _listed(metadata: Mapping[str, Any], member: str, default: list[str]) -> list[str]:
    value = metadata.get(member)
    if value is None:
        return default
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else default


def _title(issuer: str) -> str:
    """`accounts.acme.com` → Acme, which somebody will correct."""
    labels = [label for label in (urlsplit(issuer).hostname or "provider").split(".") if not label.isdigit()]
    word = labels[-2] if len(labels) > 1 else labels[0] if labels else "provider"
    return word.capitalize()


def _slug(issuer: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", _title(issuer).lower())


def _scalar(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z][\w .-]*[\w.]|[A-Za-z]", text) else json.dumps(text)


def _wrapped(text: str) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        word = re.sub(r"[^\x20-\x7e§]", "?", word)  # noqa: PLW2901  # a stranger's text, and it must stay a comment
        if line and len(line) + len(word) > 115:  # noqa: PLR2004
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line]
