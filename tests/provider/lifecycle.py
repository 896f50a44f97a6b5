"""A simulated provider that follows a golden life cycle, and the walk of a definition through it.

The golden files in `golden/` are transcribed from the providers' documentation, not from our definitions. The provider
here answers what they say whatever it is asked, and notes each difference between the request that the documentation
wants and the one that the definition sends: so that one run shows all of them. What the placeholders stand for is
their own name (the client id is `CLIENT_ID`), but for what has to be computed: `CHALLENGE`, `ID_TOKEN`, `HMAC`.

Three freedoms are granted, each by an RFC and none by a definition:

- Scopes may come in any order (RFC 6749 §3.3).
- `token_type_hint` may be missing where the documentation shows it (RFC 7009 §2.1, RFC 7662 §2.1: optional).
- A discovered userinfo endpoint may be asked although the golden life cycle gets along without (OIDC Core §5.3); it
  then says what the id_token says. `userinfo: refused` in the golden file takes this freedom back.

After a refresh the person is looked at again: it must be the same one, though the browser's callback is long gone and a
refreshed reply says less (`again: impossible` where it says nothing at all). `errors` are documented replies that mean
no. `now`, `secret` and `assertion` are given where the documented facts depend on them.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from difflib import ndiff
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jwcrypto.common import JWException
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from provider.driver import NOW
from provider.golden_lines import (
    SECRET,
    b64url,
    flat,
    http_reply,
    lines,
    parts_of_url,
    person,
    person_wanted,
    replaced,
    verifies,
    with_hmac,
)
from provider.id_tokens import KEYS, signed
from vestibule import catalog
from vestibule.model import HttpCall, HttpReply, Secret, Tokens
from vestibule.provider import wire
from vestibule.provider.defaults import complete, merge
from vestibule.provider.flow import CodeReturned, Identified, ProviderFailed, TokensReceived
from vestibule.provider.provider import Provider, compile_provider
from vestibule.reading import read

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
QUIRKS = HERE / "quirks"
CLIENT_KEYS = {"RSA": JWK.generate(kty="RSA", size=2048), "EC": JWK.generate(kty="EC", crv="P-256")}
UUID = "6f1c2f0e-6f0b-4b0e-8a55-3c7b1c0c2a11"
_PROTOCOL_CLAIMS = {"iss", "aud", "azp", "nonce", "iat", "exp", "auth_time", "amr", "at_hash"}


def golden(path: Path) -> dict[str, Any]:
    document = read(path)
    assert not document.problems, document.problems
    value: dict[str, Any] = document.value
    return value


def compiled(
    source: str, facts: Mapping[str, Any], relative_to: Path = HERE, over: Mapping[str, Any] | None = None
) -> Provider:
    """A catalog name or a file, with `over` laid over it; compiled as the config would."""
    raw = merge(catalog.load(source, relative_to).raw, over or {})
    given = facts.get("given", {})
    alg = complete(raw)["client"].get("jwt", {}).get("alg", "")
    key = CLIENT_KEYS["EC" if alg.startswith("ES") else "RSA"]
    return compile_provider(
        Path(source).stem,
        raw,
        client_id="CLIENT_ID",
        client_secret=Secret(facts.get("secret", SECRET)),
        client_key=Secret(key.export_to_pem(private_key=True, password=None).decode()),
        params={name: str(value) for name, value in given.get("params", {}).items()},
    )


def walk(provider: Provider, facts: Mapping[str, Any]) -> list[str]:
    """The whole life of a login; what differs from the golden one, ready to be read."""
    life = _Life(provider, facts)
    for stage in (life.log_in, life.refresh, life.revoke, life.present):
        stage()
        if life.stuck:
            break
    return life.differences


class _Life:
    def __init__(self, provider: Provider, facts: Mapping[str, Any]) -> None:
        self.provider = provider
        self.facts = facts
        self.differences: list[str] = []
        self.stuck = False
        self.verifier = "VERIFIER" if provider.pkce else None
        self.asked = provider.scopes_for(facts.get("given", {}).get("scopes", ()))
        self.tokens = Tokens(access_token=None)
        self.now: int = facts.get("now", NOW)

    # --- stages ------------------------------------------------------------------------------------------------------

    def log_in(self) -> None:
        provider, callback = self.provider, {**self.facts["callback"]}
        pushed = [self.facts["par"]] if "par" in self.facts else []
        begun = self._converse(
            "authorize",
            wire.start(
                provider,
                redirect_uri="REDIRECT_URI",
                state="STATE",
                nonce="NONCE",
                scopes=self.asked,
                verifier=self.verifier,
                now=self.now,
                uuid=UUID,
            ),
            pushed,
        )
        if not isinstance(begun, wire.AuthorizeUrl):
            return self._stop("authorize", begun)
        self._compare("authorize request", self._wanted(self.facts["authorize"]), parts_of_url(begun.url))
        if (text := self.facts["authorize"].get("contains", "")) not in begun.url:
            self.differences.append(f"authorize request: the URL does not contain {text}")
        mode = "form_post" if callback.pop("method", "GET") == "POST" else "query"
        self._compare("callback", {"mode": mode}, {"mode": provider.definition.callback.mode})
        params = {name: str(value) for name, value in self._filled(callback).items()}
        if "HMAC" in params.values():
            params = with_hmac(params)
        returned = wire.read_callback(provider, params)
        if not isinstance(returned, CodeReturned):
            return self._stop("callback", returned)
        self._compare("callback", {"code": "CODE"}, {"code": returned.code})
        self._try_errors("exchange", lambda: self._redeem(returned))
        received = self._converse("exchange", self._redeem(returned), self.facts["exchange"])
        if not isinstance(received, TokensReceived):
            return self._stop("exchange", received)
        self.tokens = received.tokens
        self._compare_tokens("tokens", self.facts["tokens"], self.tokens)
        self._try_errors("identity", lambda: self._identify(params))
        who = self._converse("identity", self._identify(params), self.facts["identity"])
        if not isinstance(who, Identified):
            return self._stop("identity", who)
        self._compare("result", person_wanted(self.facts["result"]), person(who.identity))
        return None

    def _redeem(self, returned: CodeReturned) -> Any:
        return wire.redeem(
            self.provider,
            code=returned.code,
            callback=returned.callback,
            redirect_uri="REDIRECT_URI",
            verifier=self.verifier,
            scopes=self.asked,
            now=self.now,
            uuid=UUID,
        )

    def _identify(self, callback: Mapping[str, str]) -> Any:
        return wire.identify(self.provider, self.tokens, nonce="NONCE", callback=callback, now=self.now, uuid=UUID)

    def _try_errors(self, stage: str, begin: Callable[[], Generator[HttpCall, Any, Any]]) -> None:
        """Documented errors of the first request of a stage, whatever their status."""
        for error in self.facts.get("errors", ()):
            if error["at"] == stage:
                first = {"request": self.facts[stage][0]["request"], "reply": error["reply"]}
                result = self._converse(stage, begin(), [first])
                kind = result.kind if isinstance(result, ProviderFailed) else repr(result)
                self._compare(f"{stage} error {error['reply']}", {"kind": error["kind"]}, {"kind": kind})

    def refresh(self) -> None:
        facts, definition = self.facts["refresh"], self.provider.definition
        if facts == "none" or definition.refresh == "none":
            # Plain OAuth: where no refresh token comes none is used, so a definition need not say so.
            if facts != "none":
                self._compare("refresh", {"documented": "yes"}, {"documented": "refresh: none"})
            elif definition.refresh != "none" and (
                self.tokens.refresh_token or not _needs_refresh_token(self.provider)
            ):
                self._compare("refresh", {"refresh": "none"}, {"refresh": "tokens are refreshed"})
            return
        received = self._converse(
            "refresh",
            wire.refresh(
                self.provider,
                self.tokens,
                scopes=self.tokens.scopes or self.asked,
                redirect_uri="REDIRECT_URI",
                now=self.now,
                uuid=UUID,
            ),
            _steps(facts),
        )
        if not isinstance(received, TokensReceived):
            self._stop("refresh", received)
            return
        self._compare_tokens("refreshed tokens", facts["tokens"], received.tokens)
        self._look_again(received.tokens)

    def _look_again(self, tokens: Tokens) -> None:
        old, new = (kept.access_token.reveal() if kept.access_token else "" for kept in (self.tokens, tokens))
        replies = {step["request"]["url"]: step["reply"] for step in self.facts["identity"]}
        conversation = wire.identify(self.provider, tokens, nonce=None, now=self.now, uuid=UUID)
        try:
            call = next(conversation)
            while True:
                text = call.url.partition("?")[0]
                if any(old in value and new not in value for _, value in call.headers):
                    self.differences.append(f"looking again: {call!r} is sent the old access token")
                found = replies.get(text)
                call = conversation.send(
                    self._answer("identity", call, [], 0) if found is None else http_reply(self._filled(found))
                )
        except StopIteration as end:
            who = end.value
        if self.facts.get("again") == "impossible":
            self._compare("looking again", {"possible": False}, {"possible": isinstance(who, Identified)})
            return
        wanted = person_wanted(self.facts["result"])
        self._compare(
            "looking again after the refresh",
            {name: wanted[name] for name in ("subject", "tenant")},
            {name: person(who.identity)[name] for name in ("subject", "tenant")}
            if isinstance(who, Identified)
            else {"failed": repr(who)},
        )

    def revoke(self) -> None:
        facts = self.facts["revoke"]
        result = self._converse(
            "revoke",
            wire.revoke(self.provider, self.tokens, now=self.now, uuid=UUID),
            [] if facts == "none" else _steps(facts),
        )
        if result is not None:
            self._stop("revoke", result)

    def present(self) -> None:
        access_token = self.tokens.access_token
        assert access_token is not None
        wanted = dict(self.facts["api"])
        query = wanted.pop("query", {})
        presented = wire.api_headers(self.provider, access_token, self.tokens.kept)
        placeholders = {"ACCESS_TOKEN": access_token.reveal(), "<access_token>": access_token.reveal()}
        self._compare(
            "api",
            {f"headers.{name.lower()}": replaced(value, placeholders) for name, value in wanted.items()}
            | {f"query.{name}": replaced(value, placeholders) for name, value in query.items()},
            {f"headers.{name.lower()}": value for name, value in presented}
            | {
                f"query.{name}": value
                for name, value in wire.api_query(self.provider, access_token, self.tokens.kept).items()
            },
        )

    # --- the provider's side -----------------------------------------------------------------------------------------

    def _converse(self, stage: str, conversation: Generator[HttpCall, Any, Any], steps: list[Mapping[str, Any]]) -> Any:
        """Answers each call in order; what was not asked for or not expected is a difference."""
        waiting = list(steps)
        try:
            call = next(conversation)
            while True:
                call = conversation.send(self._answer(stage, call, waiting, len(steps)))
        except StopIteration as end:
            for step in waiting:
                self._compare(f"{stage} request", self._wanted(step["request"]), {})
            return end.value

    def _answer(self, stage: str, call: HttpCall, waiting: list[Mapping[str, Any]], total: int) -> HttpReply:
        discovery = self.facts.get("discovery")
        if discovery is not None and call.url == discovery["url"]:
            return http_reply({"json": discovery["document"]})
        document = discovery["document"] if discovery else {}
        if call.url in {document.get("jwks_uri"), self.facts.get("jwks")}:
            return http_reply({"json": KEYS})
        free = stage == "identity" and not waiting and self.facts.get("userinfo") != "refused"
        if free and call.url == document.get("userinfo_endpoint"):
            claims = {k: v for k, v in self._claims().items() if k not in _PROTOCOL_CLAIMS}
            return http_reply({"json": claims})
        sent = self._sent(call)
        if not waiting:
            self._compare(f"{stage} request", {}, sent)
            return http_reply({"status": 404, "json": {}})
        step = waiting.pop(0)
        number = f" {total - len(waiting)}" if total > 1 else ""
        self._compare(f"{stage} request{number}", self._wanted(step["request"]), sent)
        return http_reply(self._filled(step["reply"]))

    def _claims(self) -> dict[str, Any]:
        return {"iat": self.now, "exp": self.now + 300} | self._filled({**self.facts["id_token"]})

    def _filled(self, value: Any) -> Any:
        """Placeholders that have to be computed."""
        if isinstance(value, dict):
            return {key: self._filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._filled(inner) for inner in value]
        if value == "TIMESTAMP":
            return self.now
        return signed(self._claims()) if value == "ID_TOKEN" else value

    # --- comparing ---------------------------------------------------------------------------------------------------

    def _wanted(self, request: Mapping[str, Any]) -> dict[str, str]:
        """A golden request, as flat lines. Headers are compared where the golden file lists them."""
        parts = parts_of_url(request["url"])
        parts |= flat("query", request.get("query", {}))
        if "method" in request:
            parts["method"] = request["method"]
        parts |= {f"headers.{name.lower()}": str(value) for name, value in request.get("headers", {}).items()}
        if "basic" in request:
            user, password = (self._wire_value(value) for value in request["basic"])
            parts["headers.authorization"] = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        for body in ("form", "json"):
            parts |= flat(body, request.get(body, {}))
        if "body" in request:
            parts["body"] = request["body"]
        return {name: self._wire_value(value) for name, value in parts.items()}

    def _wire_value(self, value: str) -> str:
        return replaced(value, {"CHALLENGE": b64url(hashlib.sha256(b"VERIFIER").digest())})

    def _sent(self, call: HttpCall) -> dict[str, str]:
        parts = {"method": call.method} | parts_of_url(call.url)
        headers = {name.lower(): value for name, value in call.headers}
        parts |= {f"headers.{name}": value for name, value in headers.items()}
        content_type = headers.get("content-type", "")
        if content_type.startswith("application/json"):
            parts |= flat("json", json.loads(call.body))
        elif content_type == "application/x-www-form-urlencoded":
            pairs = parse_qsl(call.body.decode(), keep_blank_values=True, strict_parsing=True)
            assert len(pairs) == len(dict(pairs)), "a parameter is sent twice"
            parts |= flat("form", dict(pairs))
        elif call.body:
            parts["body"] = call.body.decode()
        return {name: self._without_assertion(value) for name, value in parts.items()}

    def _without_assertion(self, value: str) -> str:
        """A JWT of ours, verified and held against the golden file's `assertion`."""
        if value.count(".") != 2 or not value.startswith("eyJ"):
            return value
        try:
            jws = JWS()
            jws.deserialize(value)
            keys = [*CLIENT_KEYS.values(), JWK(kty="oct", k=b64url(self.facts.get("secret", SECRET).encode()))]
            if not any(verifies(jws, key) for key in keys):
                return value
        except JWException:
            return value
        claims, header = json.loads(jws.payload), dict(jws.jose_header)
        assert claims["iat"] == self.now < claims["exp"], "RFC 7523 §3"
        assert claims["jti"], "RFC 7523 §3: never used twice"
        facts = self.facts.get("assertion", {})
        found = {f"header.{name}": str(header.get(name)) for name in facts.get("header", {})}
        found |= {f"claims.{name}": str(claims.get(name)) for name in facts.get("claims", {})}
        self._compare(
            "client assertion",
            flat("header", facts.get("header", {})) | flat("claims", facts.get("claims", {})),
            found,
        )
        return "CLIENT_ASSERTION"

    def _compare_tokens(self, stage: str, facts: Mapping[str, Any], tokens: Tokens) -> None:
        found = {
            "access_token": tokens.access_token and tokens.access_token.reveal(),
            "refresh_token": tokens.refresh_token and tokens.refresh_token.reveal(),
            "expires_in": None if tokens.expires_at is None else tokens.expires_at - self.now,
            "scopes": sorted(tokens.scopes or ()),
        }
        wanted = {name: facts[name] for name in found if name in facts}
        if "scopes" in wanted:
            said = wanted["scopes"]
            if said is None and stage != "tokens":
                said = self.tokens.scopes or self.asked  # RFC 6749 §5.1: as before
            wanted["scopes"] = sorted(said or ())
        self._compare(stage, wanted, {name: found[name] for name in wanted})

    def _compare(self, stage: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        wanted, found = dict(wanted), dict(found)
        if "url" in wanted or "url" in found:
            self._allow(wanted, found)
        if wanted == found:
            return
        told = [line for line in ndiff(lines(wanted), lines(found)) if line[0] != "?"]
        title = f"{stage}  (- the documentation wants, + the definition sends)"
        self.differences.append("\n  ".join([title, *told]))

    def _allow(self, wanted: dict[str, Any], found: dict[str, Any]) -> None:
        """The freedoms of the module's docstring, and headers of which the documentation says nothing."""
        rules = self.provider.definition.scopes
        for name in {f"query.{rules.param}", "form.scope", "query.scope"} & wanted.keys() & found.keys():
            if sorted(wanted[name].split(rules.sep)) == sorted(found[name].split(rules.sep)):
                found[name] = wanted[name]
        if "form.token" in found and "form.token_type_hint" not in found:
            wanted.pop("form.token_type_hint", None)
        for name in [name for name in found if name.startswith("headers.") and name not in wanted]:
            if name != "headers.authorization" or not wanted:
                del found[name]

    def _stop(self, stage: str, result: object) -> None:
        self.differences.append(f"{stage}: {result}")
        self.stuck = True


def _steps(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One request and its reply, or several as `steps`."""
    steps: list[Mapping[str, Any]] = facts.get("steps", [facts])
    return steps


def _needs_refresh_token(provider: Provider) -> bool:
    rules = provider.definition.refresh
    return rules != "none" and ("refresh_token",) in rules.paths()
