"""What the composition root builds once from the config and everything else is handed."""

import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import NoReturn

from msgspec import Struct

from vestibule.config import Lifetimes, Registration, RouteConfig
from vestibule.crypto.jose import IdentityKeys, Signer
from vestibule.crypto.sealing import Sealer
from vestibule.errors import PageError
from vestibule.model import ClientRecord, Identity, Principal
from vestibule.oauth.resources import Resource
from vestibule.outbound import Outbound
from vestibule.policy.permissions import Permissions
from vestibule.policy.routes import RouteTable
from vestibule.policy.rules import AllowRules
from vestibule.provider.provider import Provider
from vestibule.service.cache import KeyCache
from vestibule.service.revocations import RevocationLog
from vestibule.storage.database import Database


class Route(Struct, frozen=True, kw_only=True):
    """A gated route, compiled."""

    config: RouteConfig
    resource: Resource
    permissions: Permissions
    allow: AllowRules

    @property
    def id(self) -> str:
        return self.config.id

    @property
    def provider_token_of(self) -> str | None:
        """The provider whose token this route injects; None if it injects none."""
        send = self.config.send.authorization
        return None if isinstance(send, str) else send.provider_token


class Gateway(Struct, frozen=True, kw_only=True):
    issuer: str
    """= `public_url`: scheme, host and port, no trailing slash."""
    secure_cookies: bool
    """False only on http loopback, where browsers drop Secure cookies of some hosts."""
    lifetimes: Lifetimes
    registration: Registration
    key_prefix: str
    routes: Mapping[str, Route]
    table: RouteTable[Route]
    providers: Mapping[str, Provider]
    clients: Mapping[str, ClientRecord]
    """Pre-registered ones, by id."""
    database: Database
    outbound: Outbound
    state: Signer
    forms: Signer
    identity_keys: IdentityKeys
    sealer: Sealer
    cache: KeyCache
    revocations: RevocationLog
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    worker: str
    """Names this process in leases."""
    now: Callable[[], int] = lambda: int(time.time())

    @property
    def resources(self) -> tuple[Resource, ...]:
        return tuple(route.resource for route in self.routes.values())

    def signs_in(self, route_id: str, provider_id: str) -> bool:
        """Whether the route still takes people of this provider: one that was removed ends what it let in."""
        route = self.routes.get(route_id)
        return route is not None and provider_id in self.providers and provider_id in route.config.providers

    def callback_url(self, provider_id: str) -> str:
        """The redirect URI to register at the provider."""
        return f"{self.issuer}/oauth/callback/{provider_id}"


def subject_of(principal: Principal, user_id: str | None) -> str:
    """What backends see as `sub`: our opaque id for people, `client:<id>` for services (RFC 9700 §4.15)."""
    return user_id or "" if isinstance(principal, Identity) else f"client:{principal.id}"


class FlowRefused(Exception):
    """Ends a browser flow with a page. `return_url` carries the OAuth error to the client, if the user follows it."""

    def __init__(self, error: PageError, return_url: str | None = None, client_name: str | None = None) -> None:
        super().__init__(error.slug)
        self.error = error
        self.return_url = return_url
        self.client_name = client_name


def refuse(error: PageError, return_url: str | None = None, client_name: str | None = None) -> NoReturn:
    raise FlowRefused(error, return_url, client_name)
