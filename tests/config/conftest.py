"""A config in a directory of its own, with a definition beside it, and a way to break it line by line."""

from pathlib import Path

import pytest

SIGNING = "Zk3vT0xq8Yw1nB5uJ7sD2fG4hK6lM9pQrStUvWxYz0A"
SEALING = "aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3aB4c"

DEFINITION = """\
title: Acme
params:
  base: {default: "https://id.acme.com", pattern: "https://[a-z.]+"}
authorize: {url: "${p.base}/authorize"}
token: {url: "${p.base}/token"}
identity:
  calls:
    me: {url: "${p.base}/me"}
  map: {sub: me.id}
"""

CONFIG = """\
public_url: https://gate.example.com
secrets:
  signing: ["${SIGNING}"]
  sealing: ["${SEALING}"]
providers:
  acme:
    definition: ./acme.yaml
    client: {id: app, secret: "${ACME_SECRET}"}
routes:
  - id: issues
    path: /mcp
    backend: http://127.0.0.1:9000/mcp
    providers: [acme]
    allow: [{email_domain: acme.com}]
    permissions:
      read: {title: Read}
    send:
      authorization: strip
clients:
  - id: portal
    name: Portal
    redirect_uris: [https://portal.example.com/callback]
lifetimes: {access_token: 1h}
"""

ENV = {"SIGNING": SIGNING, "SEALING": SEALING, "ACME_SECRET": "acme-client-secret"}


class Workspace:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "vestibule.yaml"
        self.env = dict(ENV)
        self.write("acme.yaml", DEFINITION)
        self.write("vestibule.yaml", CONFIG)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path

    def edit(self, old: str, new: str, name: str = "vestibule.yaml") -> None:
        """Replaces text that is there once, so that a row of a table cannot silently change nothing."""
        path = self.directory / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, (old, text.count(old))
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(Path())
