"""Answers that no provider should give: npm `oauth2-mock-server`, whose endpoints can be spoilt one at a time.

Its authorize endpoint asks nobody and its one user is `johndoe`. Clients are not checked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from real.node_server import NodeServer, request
from real.processes import free_port

ABSENT = "(absent)"
"""In `merge` and `claims`: the member is left out."""


class MockServer(NodeServer):
    """Its issuer is `url`; `url` and `/~name` is another."""

    def __init__(self, scripts: Path) -> None:
        port = free_port()
        ready = "/.well-known/openid-configuration"
        super().__init__("malformed", scripts, str(port), port=port, ready=ready)

    @contextmanager
    def fault(self, at: str, **what: Any) -> Iterator[None]:
        """What the endpoint `at` does meanwhile. `merge`: other members in its JSON. `json`: other JSON. `status`.
        `claims`, `header`: other ones in the id_token. `raw`: bytes, in one of the ways of malformed.mjs.
        """
        control = f"{self.url}/control/fault"
        request("PUT", control, json={"at": at, **what}).raise_for_status()
        try:
            yield
        finally:
            request("PUT", control, json={"at": at}).raise_for_status()

    def hits(self) -> list[str]:
        """Requests since it was last asked, such as `POST /token`."""
        return list(request("GET", f"{self.url}/control/fault").json())
