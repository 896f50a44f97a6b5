"""`providers try`, `providers discover` and `check --online` against real providers, as people run them: the console
script in a process of its own, and a person at the browser. Nothing that they print holds a secret.
"""

import asyncio
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from real.django_provider import ALICE, DjangoProvider
from real.oidc_mock import CAROL, OidcProvider
from real.person import Answer, Person
from real.processes import free_port, program
from real.shapes import CLERK, DEFINITIONS, SENTRY
from vestibule import catalog
from vestibule.model import Secret
from vestibule.provider.provider import compile_provider
from vestibule.tools import trial
from vestibule.tools.trial import try_login

SECONDS = 60
CANARY = "canary-Zk3vT0xq8Yw1nB5uJ7sD2fG4hK6lM9p"


@dataclass(frozen=True)
class Ended:
    status: int
    output: str
    callback: str
    """The URL that the browser came back to."""


async def vestibule(*args: object, answers: Mapping[str, Answer] | None = None, **env: str) -> Ended:
    """Runs the command; when it prints a link, a person opens it."""
    variables = {"PATH": os.environ["PATH"], **env}
    process = await asyncio.create_subprocess_exec(
        program("vestibule") or "vestibule",
        *map(str, args),
        env=variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[str] = []
    callback = ""
    async with asyncio.timeout(SECONDS):
        while line := (await process.stdout.readline()).decode():
            lines.append(line)
            if answers is not None and (found := re.fullmatch(r"\s*(https?://\S+state=\S+)\s*", line)):
                person = Person(answers)
                callback = await person.walk(found[1], re.findall(r"redirect URI\s+(\S+)", "".join(lines))[0])
                await person.visit(callback)
                assert "You can close this page" in person.pages[-1].text
        status = await process.wait()
    return Ended(status, "".join(lines), callback)


def code_of(ended: Ended) -> str:
    return re.findall(r"code=([^&]+)", ended.callback)[0]


# --- try --------------------------------------------------------------------------------------------------------------


async def tried(provider: OidcProvider, *more: object, secret: str | None = None, **answers: Any) -> tuple[Ended, str]:
    port = free_port()
    client_id, given = provider.register(f"http://127.0.0.1:{port}/oauth/callback/clerk_shape")
    args = ["providers", "try", DEFINITIONS / "clerk_shape.yaml", "--client-id", client_id, "--no-browser"]
    args += ["--param", f"issuer={provider.url}", "--port", port, *more]
    ended = await vestibule(*args, answers=answers or CLERK.answers, VESTIBULE_CLIENT_SECRET=secret or given)
    return ended, secret or given


async def test_try_shows_a_login_and_its_refresh(oidc_provider: OidcProvider):
    ended, secret = await tried(oidc_provider, "--refresh")
    assert ended.status == 0, ended.output
    for text in (
        "/.well-known/openid-configuration  metadata",
        "/oauth2/token  token",
        "grant_type     authorization_code",
        "identity.userinfo",
        "the same as before",
        f"subject         {CAROL['sub']}",
        "email_verified  yes",
        "auth_time",
        "It worked.",
    ):
        assert text in ended.output, text
    assert secret not in ended.output
    assert code_of(ended) not in ended.output


async def test_try_of_a_wrong_secret_says_what_to_change(oidc_provider: OidcProvider):
    ended, secret = await tried(oidc_provider, secret=CANARY)
    assert ended.status == 1
    assert "does not fit" in ended.output
    assert "invalid_client" in ended.output
    assert "client: {auth: basic}" in ended.output
    assert secret[4:] not in ended.output


async def test_try_shows_a_rotated_token_and_never_a_secret(django_provider: DjangoProvider, tmp_path: Path):
    """The tokens of this provider are read back from its own database: none of them was printed."""
    port = free_port()
    config = {
        "public_url": f"http://127.0.0.1:{port}",
        "storage": f"sqlite:///{tmp_path / 'unused.db'}",
        "secrets": {name: [secrets.token_urlsafe(48)] for name in ("signing", "sealing")},
        "providers": {"sentry": _sentry(django_provider)},
        "routes": [
            {"id": "r", "path": "/r", "backend": "http://127.0.0.1:9", "providers": ["sentry"], "allow": "anyone"}
        ],
    }
    file = tmp_path / "vestibule.yaml"
    file.write_text(yaml.safe_dump(config))
    args = ("providers", "try", "sentry", "--config", file, "--scope", "org:read", "--refresh", "--no-browser")
    ended = await vestibule(*args, answers=SENTRY.answers)
    assert ended.status == 0, ended.output
    assert f"http://127.0.0.1:{port}/oauth/callback/sentry" in ended.output
    assert "rotated" in ended.output
    assert ALICE["email"] in ended.output
    assert "the address is not said to be verified" in ended.output
    made = [django_provider.client_secret, code_of(ended), *_tokens_of(django_provider)]
    assert len(made) > 3
    assert [secret for secret in made if secret in ended.output] == []


async def test_try_tells_a_refusal(django_provider: DjangoProvider):
    """RFC 6749 §4.1.2.1: the person presses Cancel."""
    port = free_port()
    args = ["providers", "try", DEFINITIONS / "sentry_shape.yaml", "--client-id", django_provider.client_id]
    args += ["--redirect-uri", f"http://127.0.0.1:{port}/oauth/callback/sentry", "--port", port, "--no-browser"]
    args += ["--param", f"base={django_provider.url}"]
    answers = {**SENTRY.answers, "allow": False}
    ended = await vestibule(*args, answers=answers, VESTIBULE_CLIENT_SECRET=django_provider.client_secret)
    assert ended.status == 1
    assert "The provider refused." in ended.output
    assert "provider_access_denied" in ended.output


async def test_try_tells_unavailability(tmp_path: Path):
    args = ["providers", "try", DEFINITIONS / "clerk_shape.yaml", "--client-id", "x", "--no-browser"]
    args += ["--param", f"issuer=http://127.0.0.1:{free_port()}", "--port", free_port()]
    ended = await vestibule(*args, VESTIBULE_CLIENT_SECRET=CANARY)
    assert ended.status == 1
    assert "temporarily unavailable" in ended.output
    assert "Check the host" in ended.output


async def test_try_does_not_wait_for_ever(oidc_provider: OidcProvider, monkeypatch: pytest.MonkeyPatch):
    """RFC 8252 §8.4: and a callback with another state is no answer."""
    monkeypatch.setattr(trial, "WAIT_SECONDS", 1)
    raw = catalog.load("clerk_shape.yaml", DEFINITIONS).raw
    provider = compile_provider(
        "c", raw, client_id="x", client_secret=Secret(CANARY), params={"issuer": oidc_provider.url}
    )
    port = free_port()
    uri = f"http://127.0.0.1:{port}/cb"
    running = asyncio.create_task(
        try_login(provider, redirect_uri=uri, port=port, path="/cb", scopes=(), refresh=False, show=lambda _: None)
    )
    await asyncio.sleep(0.3)
    async with httpx.AsyncClient(trust_env=False) as browser:
        assert (await browser.get(f"{uri}?code=stolen&state=made-up")).status_code == 400
        assert (await browser.get(f"http://127.0.0.1:{port}/")).status_code == 404
    outcome = await running
    assert (outcome.kind, outcome.slug) == ("misconfigured", "no_callback")
    assert uri in outcome.advice


async def test_try_says_when_the_port_is_taken(oidc_provider: OidcProvider):
    args = ["providers", "try", DEFINITIONS / "clerk_shape.yaml", "--client-id", "x", "--no-browser"]
    args += ["--param", f"issuer={oidc_provider.url}", "--port", oidc_provider.port]
    ended = await vestibule(*args, VESTIBULE_CLIENT_SECRET=CANARY)
    assert ended.status == 1
    assert "another --port" in ended.output


def _sentry(provider: DjangoProvider) -> dict[str, Any]:
    return {
        "definition": str(DEFINITIONS / "sentry_shape.yaml"),
        "params": {"base": provider.url},
        "client": {"id": provider.client_id, "secret": provider.client_secret},
    }


def _tokens_of(provider: DjangoProvider) -> list[str]:
    path = provider.env["SITE_DATABASE"]
    with sqlite3.connect(path) as database:
        found = [row[0] for row in database.execute("SELECT token FROM oauth2_provider_accesstoken")]
        found += [row[0] for row in database.execute("SELECT token FROM oauth2_provider_refreshtoken")]
    return found


# --- discover ---------------------------------------------------------------------------------------------------------


async def test_discover_writes_a_definition_that_logs_in(oidc_provider: OidcProvider, tmp_path: Path):
    file = tmp_path / "mock.yaml"
    ended = await vestibule("providers", "discover", oidc_provider.url, "--name", "Mock", "--write", file)
    assert ended.status == 0, ended.output
    assert "vestibule providers try" in ended.output
    assert [line for line in file.read_text().splitlines() if not line.startswith("#")] == [
        "extends: oidc",
        "title: Mock",
        f'params: {{issuer: {{default: "{oidc_provider.url}"}}}}',
    ]
    port = free_port()
    client_id, secret = oidc_provider.register(f"http://127.0.0.1:{port}/oauth/callback/mock")
    args = ("providers", "try", file, "--client-id", client_id, "--port", port, "--no-browser")
    ended = await vestibule(*args, answers=CLERK.answers, VESTIBULE_CLIENT_SECRET=secret)
    assert ended.status == 0, ended.output
    again = await vestibule("providers", "discover", oidc_provider.url, "--write", file)
    assert (again.status, "exists already" in again.output) == (1, True)


async def test_discover_says_why_there_is_nothing(django_provider: DjangoProvider):
    for issuer, told in (
        (django_provider.url, "Is this the issuer?"),
        (f"http://127.0.0.1:{free_port()}", "Check the host"),
        ("http://acme.example", "must be https"),
    ):
        ended = await vestibule("providers", "discover", issuer)
        assert (ended.status, told in ended.output) == (1, True), ended.output


# --- check --online ---------------------------------------------------------------------------------------------------


def _config(tmp_path: Path, **providers: dict[str, Any]) -> Path:
    config = {
        "public_url": "http://127.0.0.1:8080",
        "storage": f"sqlite:///{tmp_path / 'unused.db'}",
        "secrets": {name: [secrets.token_urlsafe(48)] for name in ("signing", "sealing")},
        "providers": providers,
        "routes": [
            {"id": "r", "path": "/r", "backend": "http://127.0.0.1:9", "providers": list(providers), "allow": "anyone"}
        ],
    }
    file = tmp_path / "vestibule.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def _clerk(provider: OidcProvider, **client: str) -> dict[str, Any]:
    client_id, secret = provider.register("http://127.0.0.1:8080/oauth/callback/clerk")
    definition = str(DEFINITIONS / "clerk_shape.yaml")
    client = {"id": client_id, "secret": secret} | client
    return {"definition": definition, "params": {"issuer": provider.url}, "client": client}


async def test_check_online_of_providers_that_work(
    oidc_provider: OidcProvider, django_provider: DjangoProvider, tmp_path: Path
):
    file = _config(tmp_path, clerk=_clerk(oidc_provider), sentry=_sentry(django_provider))
    ended = await vestibule("check", "--config", file, "--online", "--format", "json")
    told = json.loads(ended.output)
    assert (ended.status, told["ok"]) == (0, True), ended.output
    states = {r["id"]: {probe["what"]: probe["state"] for probe in r["probes"]} for r in told["online"]}
    assert states == {
        "clerk": {"discovery": "ok", "keys": "ok", "authorize": "ok", "token": "ok"},
        "sentry": {"authorize": "ok", "token": "ok"},
    }
    accepted = {r["id"]: next(p["told"] for p in r["probes"] if p["what"] == "token") for r in told["online"]}
    assert all("client accepted" in text for text in accepted.values()), accepted
    assert [r["redirect_uri"] for r in told["online"]] == [
        "http://127.0.0.1:8080/oauth/callback/clerk",
        "http://127.0.0.1:8080/oauth/callback/sentry",
    ]


async def test_check_online_finds_wrong_secrets_and_hosts(
    oidc_provider: OidcProvider, django_provider: DjangoProvider, tmp_path: Path
):
    nowhere = _clerk(oidc_provider) | {"params": {"issuer": f"http://127.0.0.1:{free_port()}"}}
    sentry = _sentry(django_provider)
    sentry["client"]["secret"] = CANARY
    file = _config(tmp_path, clerk=_clerk(oidc_provider, secret=CANARY), nowhere=nowhere, sentry=sentry)
    ended = await vestibule("check", "--config", file, "--online")
    assert ended.status == 1
    assert ended.output.count("the client is not accepted: invalid_client") == 2
    assert "provider_connect" in ended.output
    assert "try `client: {auth: basic}`" in ended.output
    assert "http://127.0.0.1:8080/oauth/callback/nowhere" in ended.output
    assert CANARY not in ended.output


async def test_check_online_finds_an_endpoint_that_is_none(django_provider: DjangoProvider, tmp_path: Path):
    shape = (DEFINITIONS / "sentry_shape.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(shape + "token: {url: '${p.base}/oauth/tokens/'}\n")
    sentry = _sentry(django_provider) | {"definition": "./wrong.yaml"}
    ended = await vestibule("check", "--config", _config(tmp_path, sentry=sentry), "--online")
    assert ended.status == 1
    assert "no OAuth error but status 404" in ended.output
    assert "Is `token.url` right?" in ended.output
