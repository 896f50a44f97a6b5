"""What one conversation knows: the documents that its templates and expressions see, growing with every reply.

Templates see everything. Expressions see documents only: neither the client's secret nor a token can be read into an
identity. `learn` is the one way in for what a callback or a reply says, and the one place where parameters with `from`
are taken out of it: a value that does not match its pattern ends the conversation before anything is sent with it.
"""

from collections.abc import Mapping
from typing import Any

from vestibule.provider.definition import Call
from vestibule.provider.flow import Fail
from vestibule.provider.provider import Provider
from vestibule.provider.template import Names, Unrenderable, text_of

_HIDDEN = frozenset({"client", "code", "verifier", "access_token", "refresh_token"})
_CLIENT_JWT = ("client", "jwt")


def known(provider: Provider, kept: Mapping[str, str]) -> dict[str, str]:
    """What is still believed of the values stored with a connection. The definition in force decides, not the one that
    let them in: they choose where secrets are sent.
    """
    patterns = {name: provider.definition.params[name].pattern for name in provider.captured}
    return {
        name: value
        for name, value in kept.items()
        if (pattern := patterns.get(name)) is not None and pattern.matches(value)
    }


class Talk:
    """`now` and `uuid` come from the edge, so that a conversation is a function of its arguments. `kept` is what
    earlier ones learned.
    """

    def __init__(
        self, provider: Provider, *, now: int, uuid: str, kept: Mapping[str, str] | None = None, **names: Any
    ) -> None:
        self.provider = provider
        self.kept = known(provider, kept or {})
        self.names: dict[str, Any] = {**provider.names(), "d": {}, "now": now, "uuid": uuid, **names}
        self._signed = 0
        self._renew_params()

    @property
    def documents(self) -> dict[str, Any]:
        return {name: value for name, value in self.names.items() if name not in _HIDDEN}

    def learn(self, **documents: Any) -> None:
        self.names |= documents
        for name in sorted(self.provider.captured):
            param = self.provider.definition.params[name]
            value = None if param.source is None else param.source(self.documents)
            if value in (None, ""):
                continue
            try:
                text = text_of(value)
            except Unrenderable:
                text = "\n"  # no pattern of a captured value admits it
            if param.pattern is None or not param.pattern.matches(text):
                raise Fail("misconfigured", "captured_value", f"the value for `{name}` does not match its pattern")
            self.kept[name] = text
        self._renew_params()

    def missing(self) -> None:
        """The end of a login: what is required must have come by now."""
        for name in sorted(self.provider.captured):
            if self.provider.definition.params[name].required and name not in self.names["p"]:
                raise Fail("misconfigured", "captured_value_missing", f"neither callback nor reply brought `{name}`")

    def names_for(self, call: Call) -> Names:
        """With a client JWT of its own for a call that sends one: each may be used once (RFC 7523 §3, `jti`)."""
        if _CLIENT_JWT not in call.paths():
            return self.names
        return {**self.names, "client": {**self.names["client"], "jwt": self._client_jwt()}}

    def _client_jwt(self) -> str:
        """RFC 7523 §3."""
        rules, key = self.provider.definition.client.jwt, self.provider.client_key
        if rules is None or key is None:
            raise Unrenderable("there is no key for the client's JWT")
        self._signed += 1
        claims: dict[str, Any] = {name: getattr(rules, name).text(self.names) for name in ("iss", "sub", "aud")}
        if claims["aud"] is None:
            raise Unrenderable("the audience of the client's JWT is not known")
        claims = {name: value for name, value in claims.items() if value is not None}
        now, uuid = self.names["now"], self.names["uuid"]
        claims |= {"jti": f"{uuid}.{self._signed}", "iat": now, "exp": now + rules.ttl}
        return key.sign(claims, kid=rules.kid.text(self.names) if rules.kid else None)

    def _renew_params(self) -> None:
        self.names["p"] = {**self.provider.params, **self.kept}
