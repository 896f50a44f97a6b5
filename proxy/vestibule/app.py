"""The composition root: everything is built here once, from the loaded config, and handed down."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network

from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
from msgspec import Struct, structs
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from vestibule.config import ClientConfig, Config, RouteConfig
from vestibule.crypto import random
from vestibule.crypto.digests import sha256
from vestibule.crypto.jose import IdentityKeys, Signer
from vestibule.crypto.sealing import Sealer
from vestibule.errors import OAuthError, PageError
from vestibule.gate.dispatcher import Dispatcher
from vestibule.loading import Loaded
from vestibule.model import ClientRecord, ClientSource
from vestibule.oauth.resources import Resource
from vestibule.outbound import Outbound
from vestibule.policy.permissions import compile_permissions
from vestibule.policy.routes import RouteTable
from vestibule.policy.rules import compile_rules
from vestibule.provider.provider import Provider
from vestibule.service import janitor
from vestibule.service.access import Access
from vestibule.service.cache import KeyCache
from vestibule.service.gateway import FlowRefused, Gateway, Route
from vestibule.service.revocations import RevocationLog
from vestibule.storage.database import Database
from vestibule.web import authorize, health, responses, tokens, wellknown
from vestibule.web.cookies import Cookies
from vestibule.web.cors import OpenEndpoints

FLUSH_SECONDS = 15
"""How often `last_used_at` of keys is written."""
_MOST_CONTROL_BODY = 1 << 20


class Application(Struct, frozen=True):
    asgi: Dispatcher
    gateway: Gateway


def build(loaded: Loaded, *, outbound: Outbound | None = None, hosts: frozenset[str] | None = None) -> Application:
    """The whole gateway as one ASGI application. `hosts` limits the Host header, for `dev` (DNS rebinding)."""
    gateway = build_gateway(loaded, outbound or Outbound())
    access = Access(gateway)
    control = _control(gateway, access)
    dispatcher = Dispatcher(gateway, access, OpenEndpoints(control), hosts=hosts)
    control.on_shutdown.append(dispatcher.close)
    return Application(dispatcher, gateway)


def build_gateway(loaded: Loaded, outbound: Outbound) -> Gateway:
    config = loaded.config
    database, cache = Database(config.storage), KeyCache()
    routes = {route.id: _route(config, route) for route in config.routes}
    return Gateway(
        issuer=config.public_url,
        secure_cookies=config.public_url.startswith("https://"),
        lifetimes=config.lifetimes,
        registration=config.registration,
        key_prefix=config.key_prefix,
        routes=routes,
        table=RouteTable((route.config.path, route) for route in routes.values()),
        providers=_titled(config, loaded.providers),
        clients={client.id: _client(client) for client in config.clients},
        database=database,
        outbound=outbound,
        state=Signer(config.secrets.signing, "state"),
        forms=Signer(config.secrets.signing, "form"),
        identity_keys=IdentityKeys(config.secrets.signing),
        sealer=Sealer(config.secrets.sealing),
        cache=cache,
        revocations=RevocationLog(database, cache),
        trusted_proxies=tuple(ip_network(proxy, strict=False) for proxy in config.trusted_proxies),
        worker=f"{os.getpid()}-{random.token(6)}",
    )


def _route(config: Config, route: RouteConfig) -> Route:
    permissions = compile_permissions(route.permissions)
    path = route.path.rstrip("/")
    return Route(
        config=route,
        resource=Resource(
            route=route.id,
            url=config.public_url + path,
            permissions=tuple(item.id for item in permissions.items),
            defaults=permissions.defaults,
        ),
        permissions=permissions,
        allow=compile_rules(route.allow if isinstance(route.allow, str | tuple) else ()),
    )


def _titled(config: Config, providers: Mapping[str, Provider]) -> dict[str, Provider]:
    """The config's title replaces the definition's."""
    titles = {name: provider.title for name, provider in config.providers.items() if provider.title}
    return {
        name: structs.replace(
            provider, definition=structs.replace(provider.definition, title=titles.get(name, provider.title))
        )
        for name, provider in providers.items()
    }


def _client(client: ClientConfig) -> ClientRecord:
    return ClientRecord(
        id=client.id,
        source=ClientSource.CONFIGURED,
        name=client.name,
        redirect_uris=client.redirect_uris,
        auth_method="client_secret_basic" if client.secret else "none",
        secret_digest=sha256(client.secret.reveal()) if client.secret else None,
        trusted=client.consent == "trusted",
    )


def _control(gateway: Gateway, access: Access) -> Litestar:
    cookies = Cookies(secure=gateway.secure_cookies)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await gateway.database.migrate()
        await gateway.revocations.start()
        tasks = [
            asyncio.create_task(work) for work in (gateway.revocations.watch(), _flush(access), janitor.run(gateway))
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):
                await access.flush_used()
            await gateway.outbound.close()
            await gateway.database.close()

    return Litestar(
        [
            authorize.authorize,
            authorize.decide,
            authorize.callback,
            authorize.callback_posted,
            *tokens.HANDLERS,
            *wellknown.HANDLERS,
            health.health,
        ],
        dependencies={
            "gateway": Provide(lambda: gateway, sync_to_thread=False),
            "jar": Provide(lambda: cookies, sync_to_thread=False),
        },
        exception_handlers={
            OAuthError: responses.oauth_refused,
            FlowRefused: responses.flow_refused,
            PageError: responses.page_refused,
            HTTPException: responses.http_refused,
            OperationalError: responses.database_busy,
            PoolTimeout: responses.database_busy,
            Exception: responses.failed,
        },
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=_MOST_CONTROL_BODY,
    )


async def _flush(access: Access) -> None:
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        with contextlib.suppress(Exception):  # a statistic: the next round writes it
            await access.flush_used()
