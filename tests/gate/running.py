"""A running gateway for tests: a real config file, a real server in the loop, and clients at the level of bytes."""

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import h11
import yaml
from msgspec import Struct, structs

from vestibule import app, server
from vestibule.crypto import random
from vestibule.crypto.digests import sha256
from vestibule.loading import load_config
from vestibule.model import FamilyRecord, Identity, KeyKind, KeyRecord
from vestibule.service.gateway import Gateway
from vestibule.storage import grants, keys, users

HOST = "gate.example.com"
SECONDS = 5
"""Longest wait for anything that should happen at once."""
ACME = Identity(
    provider="acme",
    subject="7",
    email="ada@acme.com",
    email_verified=True,
    name="Ada Lovelace",
    login="ada",
    groups=("team/a", "ü"),
)
_numbers = itertools.count()


class Answer(Struct, frozen=True, kw_only=True):
    """`whole` is False if the connection ended before the message did."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    whole: bool

    def all(self, name: str) -> list[str]:
        return [value.decode() for key, value in self.headers if key.lower() == name.encode()]

    def __getitem__(self, name: str) -> str:
        return ", ".join(self.all(name))


def request(method: str, target: str | bytes, *lines: str, key: str | None = None, body: bytes | None = None) -> bytes:
    """A request as bytes; a `Host` among the lines replaces the usual one."""
    head = [*lines]
    if not any(line.lower().startswith("host:") for line in lines):
        head.insert(0, f"Host: {HOST}")
    if key is not None:
        head.append(f"Authorization: Bearer {key}")
    if body is not None:
        head.append(f"Content-Length: {len(body)}")
    raw_target = target if isinstance(target, bytes) else target.encode()
    start = method.encode() + b" " + raw_target + b" HTTP/1.1\r\n"
    return start + "".join(f"{line}\r\n" for line in head).encode("latin-1") + b"\r\n" + (body or b"")


class Wire:
    """One client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._buffered = b""
        self._parser = h11.Connection(h11.CLIENT)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, method: str = "GET") -> Answer:
        """Status and headers; the body is still to come by `data`."""
        self._parser = h11.Connection(h11.CLIENT)
        self._parser.send(h11.Request(method=method, target="/", headers=[("host", HOST)]))
        self._parser.send(h11.EndOfMessage())
        if self._buffered:
            self._parser.receive_data(self._buffered)
        event = await self._event()
        while isinstance(event, h11.InformationalResponse):
            event = await self._event()
        assert isinstance(event, h11.Response), event
        return Answer(status=event.status_code, headers=list(event.headers.raw_items()), body=b"", whole=False)

    async def data(self) -> bytes | None:
        """The next bytes of the body; None at its clean end. Raises h11.RemoteProtocolError for any other end."""
        event = await self._event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        assert isinstance(event, h11.EndOfMessage), event
        self._buffered = self._parser.trailing_data[0]
        return None

    async def answer(self, method: str = "GET") -> Answer:
        answer = await self.head(method)
        body = bytearray()
        whole = False
        with contextlib.suppress(h11.RemoteProtocolError, ConnectionError):
            while (chunk := await self.data()) is not None:
                body += chunk
            whole = True
        return structs.replace(answer, body=bytes(body), whole=whole)

    async def _event(self) -> object:
        while (event := self._parser.next_event()) is h11.NEED_DATA:
            self._parser.receive_data(await asyncio.wait_for(self.reader.read(65536), SECONDS))
        return event


class Running:
    """The gateway and what tests do with it."""

    def __init__(self, gateway: Gateway, dispatcher: object, port: int) -> None:
        self.gateway, self.dispatcher, self.port = gateway, dispatcher, port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def exchange(self, data: bytes, method: str = "GET") -> Answer:
        """One connection, these bytes, one answer."""
        async with self.connect() as wire:
            await wire.send(data)
            return await wire.answer(method)

    async def call(
        self, method: str, target: str | bytes, *lines: str, key: str | None = None, body: bytes | None = None
    ) -> Answer:
        return await self.exchange(request(method, target, *lines, key=key, body=body), method)

    async def key(
        self,
        route: str,
        *permissions: str,
        who: Identity | str = ACME,
        seconds: int = 3600,
        client: str = "portal",
    ) -> str:
        """The text of a new key: of a person with user, grant and family, or of a service by its name."""
        text, now = random.key_text("vst", KeyKind.ACCESS_TOKEN), int(time.time())
        granted = permissions or self.gateway.routes[route].permissions.defaults
        async with self.gateway.database.write() as db:
            family_id = None
            if isinstance(who, Identity):
                user = await users.save_user(db, random.row_id(), who, now)
                grant = await grants.open_grant(
                    db, random.row_id(), user_id=user.id, client_id=client, route=route, now=now
                )
                family = FamilyRecord(
                    id=random.row_id(),
                    grant_id=grant.id,
                    connection_id=None,
                    permissions=granted,
                    created_at=now,
                    expires_at=now + 86400,
                    revoked_at=None,
                    revoked_reason=None,
                )
                await grants.add_family(db, family)
                family_id = family.id
            record = KeyRecord(
                id=random.row_id(),
                digest=sha256(text),
                kind=KeyKind.ACCESS_TOKEN,
                name="",
                family_id=family_id,
                service=who if isinstance(who, str) else None,
                route=route,
                permissions=granted,
                created_at=now,
                expires_at=now + seconds,
                last_used_at=None,
                revoked_at=None,
            )
            await keys.add_key(db, record)
        return text

    async def revoke(self, text: str, *, family: bool = False) -> None:
        """The key alone, or the family that it is of."""
        async with self.gateway.database.write() as db:
            facts = await keys.find_key_facts(db, sha256(text))
            assert facts is not None
            if family:
                assert facts.family is not None
                await grants.revoke_family(db, facts.family.id, "test", int(time.time()))
            else:
                await keys.revoke_key(db, facts.key.id, int(time.time()))
        await self.gateway.revocations.catch_up()


@contextlib.asynccontextmanager
async def running(directory: Path, config: str, **settings: object) -> AsyncIterator[Running]:
    """`config` without storage and secrets, which are filled in; `settings` go to `app.build`."""
    path = directory / f"vestibule-{next(_numbers)}.yaml"
    own = {
        "storage": f"sqlite:///{path.with_suffix('.db')}",
        "secrets": {"signing": [random.token()], "sealing": [random.token()]},
    }
    path.write_text(yaml.safe_dump(own) + config, encoding="utf-8")
    application = app.build(load_config(path, {}), **settings)
    async with serving(application.asgi) as port:
        yield Running(application.gateway, application.asgi, port)


@contextlib.asynccontextmanager
async def serving(asgi: object) -> AsyncIterator[int]:
    """An ASGI application in this loop, on an ephemeral loopback port."""
    # with the protocol named, as `asyncio` sets TCP_NODELAY on no other: else each answer waits 40 ms for an ACK
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        uvicorn = server.server(asgi, "127.0.0.1", 0)
        uvicorn.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]  # pytest keeps its own
        uvicorn.config.timeout_graceful_shutdown = 1
        task = asyncio.create_task(uvicorn.serve(sockets=[listener]))
        async with asyncio.timeout(SECONDS):
            while not uvicorn.started:
                assert not task.done(), "the gateway did not start"
                await asyncio.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            uvicorn.should_exit = True
            await task
