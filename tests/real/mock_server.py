"""Answers that no provider should give: npm `oauth2-mock-server`, whose endpoints can be spoilt one at a time.

Its authorize endpoint asks nobody and its one user is `johndoe`. Clients are not checked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from real.node_server import NodeServer
from real.processes import free_port

ABSENT = "(absent)"
"""In `merge` and `claims`: the member is left out."""


class MockServer(NodeServer):
    """Its issuer is `url`."""

    def __init__(self, scripts: Path) -> None:
        port = free_port()
        ready = "/.well-known/openid-configuration"
        super().__init__("malformed", scripts, str(port), port=port, ready=ready)

    @contextmanager
    def fault(self, at: str, **what: Any) -> Iterator[None]:
        """What the endpoint `at` does meanwhile. `merge`: other members in its JSON. `json`: other JSON. `status`.
        `claims`, `header`: other ones in the id_token. `raw`: bytes, in one of the ways of malformed.mjs.
        """
        self._control("PUT", json={"at": at, **what})
        try:
            yield
        finally:
            self._control("DELETE")

    def hits(self) -> list[str]:
        """Requests since it was last asked, such as `POST /token`."""
        return list(self._control("GET").json())

    def _control(self, method: str, **arguments: Any) -> httpx.Response:
        reply = httpx.request(method, f"{self.url}/control/fault", timeout=10, trust_env=False, **arguments)
        return reply.raise_for_status()
