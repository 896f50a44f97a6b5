"""`vestibule dev` as somebody meets it who has just installed the package: no config, no account, no network.

The process is watched by an audit hook (PEP 578) from its first line on: what it listens on and whom it calls is known,
not assumed.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from starlette.status import HTTP_421_MISDIRECTED_REQUEST as MISDIRECTED

from real.evidence import trace_id_of
from real.mcp_backend import McpBackend
from real.oauth_client import OAuthClient, call_tool, send
from real.person import Page, Person
from real.processes import Server, free_port, need, program

WATCH = """
import json, os, sys
NAMED = {"socket.connect": lambda args: args[1], "socket.bind": lambda args: args[1],
         "socket.getaddrinfo": lambda args: args[:2], "socket.sendto": lambda args: args[1]}
FILE = open(os.environ["WATCHED"], "a", buffering=1)
def watch(event, args):
    if event in NAMED:
        FILE.write(json.dumps([event, NAMED[event](args)], default=str) + chr(10))
sys.addaudithook(watch)
"""
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
ADA = {"decision": "approve:development", "user": "ada"}


class Dev(Server):
    """In an empty directory, with an empty environment."""

    def __init__(self, directory: Path, *options: str) -> None:
        port = free_port()
        self.home, self.kept, hook = (directory / name for name in ("home", "kept", "hook"))
        for path in (self.home, self.kept, hook):
            path.mkdir()
        (hook / "sitecustomize.py").write_text(WATCH)
        self.watched = directory / "watched"
        env = {"PYTHONPATH": str(hook), "WATCHED": str(self.watched), "TMPDIR": str(self.kept)}
        command = ["env", f"--chdir={self.home}", program("vestibule") or "vestibule", "dev", "--port", str(port)]
        super().__init__("dev", [*command, *options], port=port, directory=directory, env=env, ready="/health")

    def parts(self) -> dict[str, str]:
        """The URLs of its three servers, from the config that it shows."""
        (config,) = (yaml.safe_load(path.read_text()) for path in self.kept.glob("*/vestibule.yaml"))
        provider = config["providers"]["development"]["params"]["base"]
        return {"gateway": self.url, "provider": provider, "backend": config["routes"][0]["backend"]}

    def sockets(self, event: str) -> list[tuple[str, int]]:
        """(host, port) of every such event so far."""
        events = [json.loads(line) for line in self.watched.read_text().splitlines()]
        return [(address[0], address[1]) for name, address in events if name == event and isinstance(address, list)]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    need("vestibule")
    with Dev(tmp_path_factory.mktemp("dev")) as server:
        yield server


async def registered(dev: Dev) -> OAuthClient:
    """RFC 7591: what any client does that was given the URL and nothing else."""
    document = {"redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": "none"}
    reply = await send("POST", f"{dev.url}/oauth/register", json=document)
    return OAuthClient(dev.url, reply.json()["client_id"], redirect_uri="http://127.0.0.1:7777/callback")


async def test_a_real_client_signs_in_with_nothing_set_up(dev, mcp_client):
    """`vestibule dev` and an MCP client that is given its URL: the demo server knows who is calling, and a tool outside
    the permissions is refused until they are given.
    """
    person, storage = Person({**ADA, "permission": ["read"]}), mcp_client.Storage()
    async with mcp_client.connect(f"{dev.url}/mcp", person, storage=storage) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"list_notes", "add_note", "get_identity"}
        identity = (await client.call_tool("get_identity")).structured_content
        key = storage.tokens.access_token
        assert (await call_tool(f"{dev.url}/mcp", key, "add_note", text="refused")).status_code == 403
        person.answers["permission"] = ["read", "write"]
        added = await client.call_tool("add_note", {"text": "allowed"})
        notes = (await client.call_tool("list_notes")).structured_content
    assert identity["x-user-name"] == "Ada Lovelace"
    assert identity["x-user-email"] == "ada@example.com"
    assert key not in json.dumps(identity)
    assert added.content[0].text == "There are 2 notes now."
    assert notes["result"][-1] == "allowed"


async def test_it_tells_what_to_do_next(dev):
    """The URL to give to a client is on the screen, and so is the config that runs, which can be read."""
    shown = dev.output()
    assert f"{dev.url}/mcp" in shown
    assert "claude mcp add" in shown
    assert list(dev.home.iterdir()) == []


async def test_nobody_but_this_machine_is_asked_or_answered(dev):
    """Everything listens on 127.0.0.1 and nowhere else; no name is looked up and nobody outside is called."""
    client = await registered(dev)
    await client.sign_in(Person(ADA))
    listening = dev.sockets("socket.bind")
    assert ("127.0.0.1", dev.port) in listening
    for event in ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto"):
        assert {host for host, _ in dev.sockets(event)} <= LOOPBACK, event


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1.evil.example:{port}"])
@pytest.mark.parametrize(
    ("part", "path"),
    [
        ("gateway", "/mcp"),
        ("gateway", "/oauth/authorize"),
        ("gateway", "/.well-known/oauth-authorization-server"),
        ("provider", "/authorize"),
        ("backend", "/mcp"),
    ],
)
async def test_attack_dns_rebinding_on_dev(host, part, path, dev):
    """A page whose name was rebound to 127.0.0.1 is its own origin to the browser, so only the Host tells it from us:
    421 (RFC 9110 §15.5.20). Nothing may be left out: the provider signs in whoever asks, the backend asks for no key.
    """
    parts = urlsplit(dev.parts()[part])
    url = f"http://{parts.netloc}{path}"
    json = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"} if part == "backend" else None
    reply = await send("POST" if json else "GET", url, json=json, headers={"host": host.format(port=parts.port)})
    assert reply.status_code == MISDIRECTED


async def test_localhost_is_served_too(dev):
    """People type `localhost`; browsers resolve it to loopback themselves."""
    headers = {"host": f"localhost:{dev.port}"}
    assert (await send("GET", f"{dev.url}/health", headers=headers)).status_code == 200


async def test_a_wrong_path_back_is_a_page(dev):
    """Even here: a callback that nobody started is refused with a page and a trace id."""
    page = await Person({}).visit(f"{dev.url}/oauth/callback/development?code=x&state=y")
    assert isinstance(page, Page)
    assert page.status == 400
    assert trace_id_of(page) == page.headers["x-trace-id"]


async def test_an_own_backend_is_put_behind_it(start, tmp_path, mcp_client, mcp_backend: McpBackend):
    """`--backend URL`: the same sign-in in front of somebody's own server, which learns who calls but no key."""
    dev = start(Dev(tmp_path, "--backend", mcp_backend.mcp_url))
    storage = mcp_client.Storage()
    async with mcp_client.connect(f"{dev.url}/mcp", Person({**ADA, "user": "grace"}), storage=storage) as client:
        issue = await client.call_tool("get_issue", {"number": 1})
        arrived = dict((await client.call_tool("whoami")).structured_content["result"])
    assert issue.content[0].text == "Login page is blank"
    assert arrived["x-user-name"] == "Grace Hopper"
    assert "authorization" not in arrived
    assert storage.tokens.access_token not in json.dumps(mcp_backend.seen())


async def test_it_forgets_everything(start: Callable[[Server], Server], tmp_path, mcp_backend: McpBackend):
    """At its end the directory with its database and secrets is gone, and a key of before is unknown afterwards."""
    dev = start(Dev(tmp_path, "--backend", mcp_backend.mcp_url))
    assert isinstance(dev, Dev)
    client = await registered(dev)
    key = (await client.sign_in(Person(ADA)))["access_token"]
    assert (await call_tool(f"{dev.url}/mcp", key, "list_issues")).status_code == 200
    assert list(dev.kept.glob("*/vestibule.db"))
    dev.stop()
    assert list(dev.kept.iterdir()) == []
    dev.start()
    assert (await call_tool(f"{dev.url}/mcp", key, "list_issues")).status_code == 401
