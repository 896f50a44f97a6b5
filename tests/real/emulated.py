"""Look-alikes of well-known providers: npm `emulate`. Each has an app for the gateway and a person, Frances.

Their sign-in page is a list of people, each a form with one button. They check client, redirect URI and PKCE verifier
as the originals do; where one is less than its original, the test definition beside says so.
"""

import json
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from real.node_server import NodeServer
from real.person import Page, Person, StuckError

NAME, EMAIL = "Frances Lee", "frances@acme.example"
SERVICES = ("github", "clerk", "google", "slack", "apple", "linear", "okta", "microsoft")


class Emulated(NodeServer):
    """All of them, in one process. `apps[service]` is the gateway's registration there."""

    def __init__(self, scripts: Path, redirect_uris: Callable[[str], list[str]]) -> None:
        # Bound until the servers run, because so many free ports do not stay free by chance; Node may bind them too.
        self._reserved = [socket.socket() for _ in range(len(SERVICES) + 1)]
        for reserved in self._reserved:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(("127.0.0.1", 0))
        port, *ports = [reserved.getsockname()[1] for reserved in self._reserved]
        self.ports = dict(zip(SERVICES, ports, strict=True))
        self.apps = {service: {"id": f"gate-at-{service}", "secret": secrets.token_urlsafe(32)} for service in SERVICES}
        services = {}
        for service in SERVICES:
            app = {"name": "Gate", "redirect_uris": redirect_uris(service)}
            app |= {f"client_{name}": value for name, value in self.apps[service].items()}
            services[service] = {"port": self.ports[service], "seed": _seed(service, app)}
        super().__init__("emulated", scripts, json.dumps({"ready": port, "services": services}), port=port, ready="/")

    def start(self) -> None:
        try:
            super().start()
        finally:
            for reserved in self._reserved:
                reserved.close()

    def url_of(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"


def _seed(service: str, app: dict[str, Any]) -> dict[str, Any]:
    """The package's own words for the same: one person, one app, and what surrounds them there."""
    first, last = NAME.split()
    person = {"email": EMAIL, "name": NAME}
    seeds: dict[str, dict[str, Any]] = {
        "github": {
            "users": [{"login": "frances", **person}],
            "orgs": [{"login": "acme", "members": [{"login": "frances"}]}],
            "oauth_apps": [app],
        },
        "clerk": {
            "users": [{"clerk_id": "user_frances", "first_name": first, "last_name": last, "email_addresses": [EMAIL]}],
            "oauth_applications": [app],
        },
        "google": {"users": [person | {"hd": "acme.example"}], "oauth_clients": [app]},
        "slack": {
            "team": {"name": "Acme", "domain": "acme"},
            "users": [{"name": "frances", "real_name": NAME, "email": EMAIL}],
            "oauth_apps": [app | {"scopes": ["team:read"], "user_scopes": ["users:read"]}],
        },
        "apple": {"users": [person], "oauth_clients": [app | {"team_id": "TEAM001", "key_id": "KEY001"}]},
        "linear": {
            "organization": {"name": "Acme", "url_key": "acme"},
            "users": [person],
            "oauth_apps": [app | {"scopes": ["read", "write"], "actor": "user"}],
        },
        "okta": {
            "users": [{"okta_id": "00ufrances", "login": EMAIL, "first_name": first, "last_name": last}],
            "groups": [{"okta_id": "00gstaff", "name": "staff"}],
            "group_memberships": [{"group_okta_id": "00gstaff", "user_okta_id": "00ufrances"}],
            "oauth_clients": [app | {"auth_server_id": "org"}],
        },
        "microsoft": {"users": [person], "oauth_clients": [app]},
    }
    return seeds[service]


async def pick(person: Person, page: Page | str, until: str) -> Page | str:
    """Press Frances's button on a provider's list of people; what follows, up to the redirect to `until`."""
    if isinstance(page, str):
        raise StuckError(f"led on to {page}")
    for form, text in zip(page.forms, page.html.split("<form")[1:], strict=True):
        if EMAIL in text.partition("</form>")[0]:
            return await person.submit(page, form, until=until)
    raise StuckError("Frances is not on this list", page)
