"""The gateway as its users run it: the console script, a config file, a process of its own."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from real.processes import Server, free_port, program


class Gateway(Server):
    """`vestibule serve` with a config file of its own; `url` is its public URL."""

    def __init__(self, config: Mapping[str, Any], directory: Path, env: Mapping[str, str] | None = None) -> None:
        """What the config leaves out of public_url, storage and secrets is filled in."""
        port = free_port()
        self.config: dict[str, Any] = {
            "public_url": f"http://127.0.0.1:{port}",
            "storage": f"sqlite:///{directory / f'gateway-{port}.db'}",
            "secrets": {"signing": [secrets.token_urlsafe(48)], "sealing": [secrets.token_urlsafe(48)]},
            **config,
        }
        self.config_file = directory / f"gateway-{port}.yaml"
        self.config_file.write_text(yaml.safe_dump(self.config, sort_keys=False))
        command = [program("vestibule") or "vestibule", "serve", "--config", str(self.config_file)]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        super().__init__("gateway", command, port=port, directory=directory, env=env, ready="/health")
