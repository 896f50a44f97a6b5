"""The backend of `mcp_server.py` as a running server."""

import sys
from pathlib import Path
from typing import Any

import httpx

from real.processes import OWN_MODULES, Server, free_port


class McpBackend(Server):
    def __init__(self, directory: Path) -> None:
        port = free_port()
        command = [sys.executable, "-m", "real.mcp_server", str(port)]
        super().__init__("backend", command, port=port, directory=directory, env=OWN_MODULES, ready="/seen")
        self.mcp_url = f"{self.url}/mcp"
        self.api_url = f"{self.url}/api"

    def seen(self) -> list[dict[str, Any]]:
        """Every request since the start or `forget`: method, path, query, headers (pairs), outcome."""
        return list(httpx.get(f"{self.url}/seen", timeout=10, trust_env=False).raise_for_status().json())

    def forget(self) -> None:
        httpx.delete(f"{self.url}/seen", timeout=10, trust_env=False).raise_for_status()
