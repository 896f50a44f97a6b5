"""What a running gateway leaves behind: its log, its tables, and what must be in neither.

Tables are read from the database file, by a connection of the test's own: what the gateway believes is not asked.
"""

import base64
import json
import re
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx

from real.django_provider import DjangoProvider
from real.gateway import Gateway
from real.person import Answer, Page, Person

MADE_BY_A_SIGN_IN = ("users", "connections", "grants", "families", "codes", "keys", "refreshes")
SHORTEST_SECRET = 16
_TRACE = re.compile(r"Trace id\s+([0-9a-f]{32})")


def database_file(gateway: Gateway) -> Path:
    return Path(str(gateway.config["storage"]).removeprefix("sqlite:///"))


def query(gateway: Gateway, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{database_file(gateway)}?mode=ro", uri=True)) as db:
        return db.execute(sql, values).fetchall()


def change(gateway: Gateway, sql: str, *values: Any) -> None:
    """As an operator with the sqlite3 shell would; for moving times into the past instead of waiting."""
    with closing(sqlite3.connect(database_file(gateway), timeout=5)) as db, db:
        db.execute(sql, values)


def made(gateway: Gateway) -> dict[str, int]:
    """Rows of all that a sign-in makes; a refused one makes none of it."""
    return {table: query(gateway, f"SELECT count(*) FROM {table}")[0][0] for table in MADE_BY_A_SIGN_IN}


def log_lines(gateway: Gateway, trace_id: str) -> list[dict[str, Any]]:
    """The JSON lines of one request. The last is written after its answer was sent, so it is waited for."""
    deadline = time.monotonic() + 3
    while True:
        lines = gateway.output_file.read_bytes().splitlines()
        found = [json.loads(line) for line in lines if trace_id.encode() in line and line.startswith(b"{")]
        if any(line["event"] == "request" for line in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def trace_id_of(page: Page) -> str:
    """The one that a person reads on the page."""
    found = _TRACE.search(page.text)
    assert found, f"no trace id on the page: {page.text}"
    return found[1]


class Ledger:
    """Every secret of a test, and the proof that none of them was written down.

    People and their pages are watched: codes, states, cookies and signed form fields are found there by themselves.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._people: list[Person] = []
        self._noted: set[str] = set()
        self._provider_only: set[str] = set()
        config = gateway.config
        self.note(*config["secrets"]["signing"], *config["secrets"]["sealing"])
        for provider in config.get("providers", {}).values():
            self.note(provider["client"]["secret"])
            self._provider_only.add(provider["client"]["secret"])
        for client in config.get("clients", ()):
            if "secret" in client:
                self.note(client["secret"])
                self.note(base64.b64encode(f"{client['id']}:{client['secret']}".encode()).decode())

    def person(self, answers: dict[str, Answer]) -> Person:
        self._people.append(Person(answers))
        return self._people[-1]

    def note(self, *secrets: str | None) -> None:
        self._noted.update(secret for secret in secrets if secret and len(secret) >= SHORTEST_SECRET)

    def note_tokens(self, reply: dict[str, Any]) -> dict[str, Any]:
        self.note(reply.get("access_token"), reply.get("refresh_token"))
        return reply

    def note_django(self, provider: DjangoProvider) -> None:
        """Every token that this provider ever issued, from its own tables."""
        with closing(sqlite3.connect(f"file:{provider.env['SITE_DATABASE']}?mode=ro", uri=True)) as db:
            for table in ("accesstoken", "refreshtoken"):
                self.note(*(row[0] for row in db.execute(f"SELECT token FROM oauth2_provider_{table}")))

    def secrets(self) -> set[str]:
        found = set(self._noted)
        for person in self._people:
            for page in person.pages:
                found |= {secret for secret in _secrets_of(page, self.gateway.url) if len(secret) >= SHORTEST_SECRET}
        return found

    def written(self) -> list[str]:
        """Where a secret was found: nowhere, as it should be. The secret itself is not repeated."""
        database = database_file(self.gateway)
        places = [self.gateway.output_file, database, *(Path(f"{database}{suffix}") for suffix in ("-wal", "-shm"))]
        texts = {path.name: path.read_bytes() for path in places if path.exists()}
        return [f"{secret[:6]}… in {name}" for name, text in texts.items() for secret in _found(self.secrets(), text)]

    def seen_by(self, requests: list[dict[str, Any]], *, allowed: Iterable[str] = ()) -> list[str]:
        """Where the backend saw a secret; `allowed` are the provider's tokens on a route that sends them."""
        return [
            f"{secret[:6]}… at {request['method']} {request['path']}"
            for request in requests
            for secret in _found(self.secrets() - set(allowed), json.dumps(request).encode())
        ]

    def shown(self, text: str) -> list[str]:
        """What an error page or document gives away."""
        return [f"{secret[:6]}…" for secret in _found(self.secrets(), text.encode())]


class Judge:
    """Holds each refusal of a test against the house rules: clear, traceable, logged under a stable slug, without a
    secret; and the whole test against the tables: nothing half-made.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self.ledger = gateway, Ledger(gateway)
        self._before = made(gateway)

    def page(self, page: object, status: int, slug: str, *, says: str = "") -> Page:
        """A page for a person: what happened, what to do next, the trace id."""
        assert isinstance(page, Page), f"led on to {page}"
        assert page.headers["content-type"].startswith("text/html")
        assert "What to do next" in page.text
        assert says in page.text
        self._logged(page.status, status, trace_id_of(page), page.headers, slug, page.html)
        return page

    def document(self, reply: httpx.Response, status: int, error: str, slug: str) -> None:
        """An error for a program (RFC 6749 §5.2), with the trace id."""
        document = reply.json()
        assert document["error"] == error
        assert document["error_description"]
        assert "no-store" in reply.headers["cache-control"]
        self._logged(reply.status_code, status, document["trace_id"], reply.headers, slug, reply.text)

    def redirect(self, reply: httpx.Response, redirect_uri: str, error: str, slug: str) -> None:
        """An error that a client receives through the browser (RFC 6749 §4.1.2.1, RFC 9207 §2)."""
        assert reply.headers["location"].startswith(redirect_uri)
        answer = {name: values[0] for name, values in parse_qs(urlsplit(reply.headers["location"]).query).items()}
        assert (answer["error"], answer["iss"]) == (error, self.gateway.url)
        assert "code" not in answer
        self._logged(reply.status_code, 303, reply.headers["x-trace-id"], reply.headers, slug, reply.text)

    def made_on_purpose(self) -> None:
        """What the test did until now was no mistake: only what follows must leave nothing."""
        self._before = made(self.gateway)

    def conclude(self) -> None:
        """Nothing half-made, no login in mid-air, a reason on each that failed, no secret written."""
        assert made(self.gateway) == self._before
        assert query(self.gateway, "SELECT id FROM logins WHERE step IN ('redeeming', 'identifying')") == []
        assert query(self.gateway, "SELECT id FROM logins WHERE step = 'failed' AND error_slug IS NULL") == []
        assert not self.ledger.written()

    def _logged(self, found: int, status: int, trace_id: str, headers: httpx.Headers, slug: str, text: str) -> None:
        lines = log_lines(self.gateway, trace_id)
        # What happened on the network has a reason of its own, beside that of the refusal.
        reasons = {line["reason"] for line in lines if "reason" in line and line["event"] != "outbound_failed"}
        assert (found, reasons) == (status, {slug}), lines
        assert headers["x-trace-id"] == trace_id
        assert not any(line["level"] in {"error", "critical"} for line in lines), lines
        assert not self.ledger.shown(text)


def _found(secrets: Iterable[str], text: bytes) -> list[str]:
    return [secret for secret in secrets if any(form.encode() in text for form in {secret, quote(secret, safe="")})]


def _secrets_of(page: Page, gateway_url: str) -> Iterable[str]:
    for url in (page.url, page.headers.get("location", "")):
        values = {name: found[0] for name, found in parse_qs(urlsplit(url).query).items()}
        yield values.get("code", "")
        if url.startswith(f"{gateway_url}/oauth/callback/"):
            yield values.get("state", "")  # ours; a client's own state is kept in its login, to be given back
    if page.url.startswith(gateway_url):
        for cookie in page.headers.get_list("set-cookie"):
            yield cookie.partition("=")[2].partition(";")[0].strip('"')
        for form in page.forms:
            yield from form.values("request")
