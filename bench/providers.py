"""What the provider engine costs: `python bench/providers.py`.

CPU time of one login inside the engine (authorize URL, callback, code exchange, identity; the network is answered from
memory), and of reading and compiling definitions, scaled to 200. Figures inform; no test depends on them.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS
from rich.console import Console
from rich.table import Table

from vestibule import catalog
from vestibule.model import HttpCall, HttpReply, Secret
from vestibule.provider import wire
from vestibule.provider.flow import Identified
from vestibule.provider.provider import Provider, compile_provider
from vestibule.tools.invention import invented_provider

LOGINS = 300
ROUNDS = 5
DEFINITIONS = 200
REDIRECT = "https://gate.example.com/oauth/callback/x"
VERIFIER = "v" * 64
ISSUER = "https://idp.example.com"
KEY = JWK.generate(kty="RSA", size=2048, kid="k", alg="RS256", use="sig")


def reply(document: Any) -> HttpReply:
    return HttpReply(status=200, headers={"content-type": "application/json"}, body=json.dumps(document).encode())


def id_token() -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": "1",
        "aud": "app",
        "exp": now + 600,
        "iat": now,
        "nonce": "n",
        "email": "a@b.example",
    }
    jws = JWS(json.dumps(claims).encode())
    jws.add_signature(KEY, protected='{"alg":"RS256","kid":"k"}')
    return str(jws.serialize(compact=True))


GITHUB = {
    "/login/oauth/access_token": reply(
        {"access_token": "t", "scope": "read:user,user:email,read:org", "token_type": "bearer"}
    ),
    "/user": reply({"id": 1, "login": "octocat", "name": "Mona", "avatar_url": "https://a.example/u"}),
    "/user/emails": reply([{"email": "m@acme.example", "primary": True, "verified": True}]),
    "/user/orgs": reply([{"login": f"org-{n}"} for n in range(20)]),
    "/user/teams": reply([{"slug": f"t-{n}", "organization": {"login": "acme"}} for n in range(50)]),
}
OIDC = {
    "/.well-known/openid-configuration": reply(
        {
            "issuer": ISSUER,
            **{
                name: f"{ISSUER}/{name}"
                for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
            },
        }
    ),
    "/token_endpoint": reply({"access_token": "t", "id_token": id_token(), "expires_in": 3600, "token_type": "Bearer"}),
    "/jwks_uri": reply({"keys": [json.loads(KEY.export_public())]}),
    "/userinfo_endpoint": reply({"sub": "1", "email": "a@b.example", "email_verified": True, "groups": ["a", "b"]}),
}


def drive(conversation: Any, answers: dict[str, HttpReply]) -> Any:
    try:
        call: HttpCall = next(conversation)
        while True:
            call = conversation.send(answers["/" + call.url.split("/", 3)[3].partition("?")[0]])
    except StopIteration as end:
        return end.value


def login(provider: Provider, answers: dict[str, HttpReply]) -> None:
    moment = {"now": int(time.time()), "uuid": "u"}
    scopes = provider.scopes_for(["read:org"])
    drive(
        wire.start(provider, redirect_uri=REDIRECT, state="s", nonce="n", scopes=scopes, verifier=VERIFIER, **moment),
        answers,
    )
    code = wire.read_callback(provider, {"code": "c", "state": "s"})
    tokens = drive(
        wire.redeem(
            provider,
            code=code.code,
            callback=code.callback,
            redirect_uri=REDIRECT,
            verifier=VERIFIER,
            scopes=scopes,
            **moment,
        ),
        answers,
    )
    identified = drive(wire.identify(provider, tokens.tokens, nonce="n", **moment), answers)
    if not isinstance(identified, Identified):
        raise SystemExit(f"the login did not work: {identified}")


def provider_of(name: str, **params: str) -> Provider:
    raw = catalog.load(name, Path()).raw
    return compile_provider(name, raw, client_id="app", client_secret=Secret("s" * 40), params=params)


def login_cost(provider: Provider, answers: dict[str, HttpReply]) -> float:
    """Milliseconds of CPU; the best of several rounds, because the machine is shared."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(LOGINS):
            login(provider, answers)
        rounds.append((time.process_time() - started) / LOGINS * 1000)
    return min(rounds)


def loading_cost() -> tuple[int, float, float]:
    """Definitions in the catalog; seconds of CPU to read and to compile 200."""
    names = catalog.names()
    reading, compiling = [], []
    for _ in range(ROUNDS):
        started = time.process_time()
        read = {name: catalog.load(name, Path()).raw for name in names}
        reading.append(time.process_time() - started)
        started = time.process_time()
        for name, raw in read.items():
            invented_provider(name, raw, {})
        compiling.append(time.process_time() - started)
    scale = DEFINITIONS / len(names)
    return len(names), statistics.median(reading) * scale, statistics.median(compiling) * scale


def main() -> None:
    count, reading, compiling = loading_cost()
    table = Table("what", "CPU", "aim", title="provider engine", title_justify="left")
    table.add_row("login, GitHub (5 calls, 50 teams)", f"{login_cost(provider_of('github'), GITHUB):.2f} ms", "< 3 ms")
    oidc = provider_of("oidc", issuer=ISSUER)
    table.add_row("login, OpenID Connect (RS256 id_token)", f"{login_cost(oidc, OIDC):.2f} ms", "< 3 ms")
    table.add_row(f"load {DEFINITIONS} definitions (scaled from {count})", f"{reading + compiling:.2f} s", "< 0.5 s")
    table.add_row("  of it: read YAML", f"{reading:.2f} s", "")
    table.add_row("  of it: compile", f"{compiling:.2f} s", "")
    Console().print(table)


if __name__ == "__main__":
    main()
