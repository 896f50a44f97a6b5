"""The only sender of control-plane HTTP: what it refuses to reach, what it refuses to read, and what it remembers."""

import asyncio
import gzip
import ipaddress
import socket
import ssl
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from vestibule import outbound as module
from vestibule.model import HttpCall, HttpFailure, HttpReply
from vestibule.outbound import Outbound, is_public

PUBLIC, PUBLIC_6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


def call(url, **change):
    return HttpCall(**{"method": "GET", "url": url, "trusted": True, "timeout_seconds": 5} | change)


def stranger(url="https://client.example/metadata.json", **change):
    """A call to a URL that a client supplied."""
    return call(url, trusted=False, **change)


class Recorder(httpx.AsyncBaseTransport):
    """Stands where the network begins and answers with the number of the request."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.requests = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle_async_request(self, request):
        self.requests.append(request)
        number = len(self.requests)
        await self.gate.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        if isinstance(status, Exception):
            raise status
        return httpx.Response(status, stream=httpx.ByteStream(b"%d" % number))


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def names(monkeypatch):
    """The answers of the resolver by name, one list for each look-up; every look-up is recorded."""
    table, asked = {}, []

    def getaddrinfo(host, port, **_):
        asked.append(host)
        answers = table.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(module.socket, "getaddrinfo", getaddrinfo)
    return SimpleNamespace(table=table, asked=asked)


# --- SSRF (design decision 22) ----------------------------------------------------------------------------------------

NOT_PUBLIC = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],  # an address to refuse
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd00:ec2::254"],
    "link_local": ["169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0"],
    "shared": ["100.64.0.1", "100.100.100.200", "100.127.255.255"],
    "site_local": ["fec0::1", "feff::1"],
    "protocol_assignments": ["192.0.0.1", "192.0.0.8", "192.0.0.170", "192.0.0.192"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarking": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "broadcast_and_reserved": ["255.255.255.255", "240.0.0.1"],
    "ipv4_mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::ffff:192.0.0.192"],
    "ipv4_compatible": ["::127.0.0.1", "::a9fe:a9fe"],
    "ipv4_translated": ["::ffff:0:127.0.0.1", "::ffff:0:a9fe:a9fe"],
    "nat64": ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "192.88.99.1"],
    "teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:5601:5601"],
    "discard": ["100::1"],
    "segment_routing": ["5f00::1"],
}
ROWS = [
    pytest.param(address, id=f"{kind}-{address}") for kind, addresses in NOT_PUBLIC.items() for address in addresses
]


@pytest.mark.parametrize("address", ROWS)
async def test_attack_ssrf_address(recorder, names, address):
    """OWASP SSRF: no name that leads there, and no literal of it, is ever connected to."""
    assert not is_public(address)
    literal = f"[{address}]" if ":" in address else address
    names.table |= {"client.example": [[address]], address: [[address]]}
    outbound = Outbound(recorder)
    for url in ("https://client.example/x", f"https://{literal}/x"):
        failure = await outbound.send(stranger(url))
        assert isinstance(failure, HttpFailure)
        assert failure.reason in {"blocked", "protocol"}  # a literal with a zone is no URL at all
    assert recorder.requests == []


@pytest.mark.parametrize(
    "address", [PUBLIC, "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", PUBLIC_6, "::ffff:1.1.1.1"]
)
async def test_public_addresses_are_reached(recorder, names, address):
    """The neighbours of the blocks above: a guard that refuses the Internet would be switched off."""
    names.table["client.example"] = [[address]]
    assert (await Outbound(recorder).send(stranger())).status == 200


@pytest.mark.parametrize("address", ["1.2.3", "", "localhost", "0x7f000001"])
def test_only_addresses_are_judged(address):
    """`is_public` is asked about what the resolver gave; anything else is an error and not a yes."""
    with pytest.raises(ValueError, match="IPv4 or IPv6"):
        is_public(address)


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "localhost.", "127.0.0.1."]
)
async def test_attack_ssrf_spellings_of_loopback(recorder, host):
    """What the system's own resolver makes of it is what counts, however it was spelled."""
    failure = await Outbound(recorder).send(stranger(f"https://{host}/x"))
    assert isinstance(failure, HttpFailure)
    assert recorder.requests == []


@pytest.mark.parametrize("addresses", [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, PUBLIC_6, "::1"]], ids=str)
async def test_attack_ssrf_name_with_one_private_address(recorder, names, addresses):
    """One private address taints the name: the client library would fall back to it when the public one fails."""
    names.table["client.example"] = [addresses]
    assert (await Outbound(recorder).send(stranger())).reason == "blocked"
    assert recorder.requests == []


@pytest.mark.parametrize("vetted", [PUBLIC, PUBLIC_6])
async def test_attack_ssrf_rebinding(recorder, names, vetted):
    """The connection goes to the address that was vetted: a second look-up, which would give another, is never made."""
    names.table["client.example"] = [[vetted], ["127.0.0.1"]]
    assert (await Outbound(recorder).send(stranger())).status == 200
    (request,) = recorder.requests
    assert names.asked == ["client.example"]
    assert ipaddress.ip_address(request.url.host) == ipaddress.ip_address(vetted)
    assert request.headers["host"] == "client.example"
    assert request.extensions["sni_hostname"] == "client.example"


@pytest.mark.parametrize("url", ["http://client.example/x", "http://93.184.215.14/x", "ftp://client.example/x"])
async def test_attack_ssrf_not_https(recorder, names, url):
    """Internal services speak plain http; a client's web site does not."""
    names.table |= {"client.example": [[PUBLIC]], PUBLIC: [[PUBLIC]]}
    assert (await Outbound(recorder).send(stranger(url))).reason == "blocked"
    assert recorder.requests == []


async def test_attack_ssrf_name_of_another_alphabet(recorder, names):
    """IDNA 2008 and 2003 differ: `xn--fa-hia.de` (faß.de) must not be looked up, or verified, as fass.de."""
    names.table |= {"xn--fa-hia.de": [[PUBLIC]], "fass.de": [["1.1.1.1"]], "faß.de": [["1.1.1.1"]]}
    assert (await Outbound(recorder).send(stranger("https://xn--fa-hia.de/x"))).status == 200
    (request,) = recorder.requests
    assert names.asked == ["xn--fa-hia.de"]
    assert (request.url.host, request.extensions["sni_hostname"]) == (PUBLIC, "xn--fa-hia.de")


async def test_attack_ssrf_answer_tells_nothing(recorder, names):
    """A uniform error (decision 22): what the failure says of the inside is for the log only."""
    names.table["client.example"] = [["10.1.2.3"]]
    with capture_logs() as logs:
        failure = await Outbound(recorder).send(stranger())
    assert failure.reason == "blocked"
    assert "10.1.2.3" in logs[0]["detail"]


async def test_the_admins_origins_are_exempt(recorder, names):
    """Decision 22: in-cluster and self-hosted providers; no look-up of ours, no change of the address."""
    assert (await Outbound(recorder).send(call("http://keycloak.cluster.local:8080/token"))).status == 200
    assert str(recorder.requests[0].url) == "http://keycloak.cluster.local:8080/token"
    assert names.asked == []


async def test_unknown_name(recorder, names):
    """A name that does not resolve is no connection, and no exception."""
    assert (await Outbound(recorder).send(stranger())).reason == "connect"


@pytest.fixture
async def tls_server(tmp_path):
    """On loopback, with a certificate for client.example; yields its port and a context that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client.example")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("client.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem)

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving) as server:
        yield server.sockets[0].getsockname()[1], ssl.create_default_context(cafile=str(pem))


@pytest.mark.parametrize(("host", "outcome"), [("client.example", 200), ("other.example", "tls")])
async def test_tls_verifies_the_name_and_not_the_address(tls_server, names, monkeypatch, host, outcome):
    """Connecting to a vetted address must not weaken TLS: the certificate has to be the name's."""
    port, context = tls_server
    monkeypatch.setattr(module, "is_public", lambda _: True)
    names.table |= {host: [["127.0.0.1"]], "127.0.0.1": [["127.0.0.1"]]}
    outbound = Outbound(httpx.AsyncHTTPTransport(verify=context))
    answer = await outbound.send(stranger(f"https://{host}:{port}/x"))
    assert (answer.status if isinstance(answer, HttpReply) else answer.reason) == outcome
    await outbound.close()


# --- one exchange, on a real socket -----------------------------------------------------------------------------------


class Server:
    """Answers each request with the next script: bytes to write, a number of seconds to wait; then it hangs up."""

    def __init__(self):
        self.scripts = []
        self.requests = []

    async def __call__(self, reader, writer):
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            for step in self.scripts.pop(0) if self.scripts else [b"HTTP/1.1 204 No Content\r\n\r\n"]:
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                else:
                    await asyncio.sleep(step)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server():
    scripted = Server()
    listening = await asyncio.start_server(scripted, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield scripted
    listening.close()


@pytest.fixture
async def outbound():
    outbound = Outbound()
    yield outbound
    await outbound.close()


def ok(body, *headers):
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_an_exchange(server, outbound):
    """Method, headers and body go out as they are; the reply's header names are lower-case, repeats joined."""
    server.scripts.append([ok(b"hello", "X-A: 1", "x-a: 2", "Content-Type: text/plain")])
    reply = await outbound.send(
        call(f"{server.url}/token?a=1", method="POST", headers=(("X-Test", "yes"),), body=b"grant_type=x")
    )
    assert reply == HttpReply(status=200, headers=dict(reply.headers), body=b"hello")
    assert reply.headers["x-a"] == "1, 2"
    assert reply.headers["content-type"] == "text/plain"
    sent = server.requests[0].decode()
    assert sent.startswith("POST /token?a=1 HTTP/1.1\r\n")
    assert "X-Test: yes\r\n" in sent
    assert "accept-encoding: identity\r\n" in sent.lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_attack_ssrf_redirect_is_not_followed(server, outbound, status):
    """CIMD (protocol rule 4): a redirect would lead past the guard; it is an answer like any other, without a 200."""
    server.scripts.append(
        [f"HTTP/1.1 {status} Moved\r\nLocation: {server.url}/in\r\nContent-Length: 0\r\n\r\n".encode()]
    )
    assert (await outbound.send(call(f"{server.url}/out"))).status == status
    assert len(server.requests) == 1


async def test_no_cookie_is_kept(server, outbound):
    """The stack: a shared jar would carry one user's session at the provider into another's calls."""
    server.scripts.append([ok(b"", "Set-Cookie: session=1; Path=/")])
    await outbound.send(call(server.url))
    await outbound.send(call(server.url))
    assert b"cookie" not in server.requests[1].lower()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_no_proxy_from_the_environment(server, monkeypatch, variable):
    """A proxy would resolve the name itself, behind the guard's back."""
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    outbound = Outbound()
    assert (await outbound.send(call(server.url))).status == 204
    await outbound.close()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(gzip.compress(bytes(50_000_000)))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([], "protocol"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], "protocol"),
        ([b"\x00\xff" * 100], "protocol"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"], "protocol"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], "protocol"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000], "protocol"),
        ([CHUNKED, b"zz\r\n"], "protocol"),
        ([ok(b"x" * 1001)], "too_large"),
        ([CHUNKED, *[b"64\r\n" + b"x" * 100 + b"\r\n"] * 11, b"0\r\n\r\n"], "too_large"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 2000, 5], "too_large"),
        ([ok(gzip.compress(b"{}"), "Content-Encoding: gzip")], "protocol"),
        ([ok(BOMB, "Content-Encoding: gzip, gzip")], "protocol"),
        ([5], "timeout"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n", 5], "timeout"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", 5], "timeout"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", *[b"x", 0.05] * 100], "timeout"),
    ],
    ids=[
        "hangs_up",
        "another_protocol",
        "garbage",
        "shorter_than_promised",
        "negative_length",
        "endless_header",
        "bad_chunk",
        "body_too_large",
        "chunks_too_large",
        "attack_endless_body",
        "compressed_unasked",
        "attack_gzip_bomb",
        "silent",
        "slow_headers",
        "slow_body",
        "attack_drip_feed",
    ],
)
async def test_no_usable_reply(server, outbound, script, reason):
    """CIMD ≤ 5 KB in 10 s, and the same for all: bounded in size and in time as a whole, an error value at worst."""
    server.scripts.append(script)
    started = asyncio.get_running_loop().time()
    answer = await outbound.send(call(server.url, max_bytes=1000, timeout_seconds=0.3))
    assert isinstance(answer, HttpFailure)
    assert answer.reason == reason
    assert asyncio.get_running_loop().time() - started < 2


async def test_the_caps_are_inclusive(server, outbound):
    """As much as is allowed is allowed."""
    server.scripts.append([ok(b"x" * 1000)])
    assert len((await outbound.send(call(server.url, max_bytes=1000))).body) == 1000


async def test_nobody_listens(unused_tcp_port, outbound):
    """Refused connections are told apart from broken answers."""
    assert (await outbound.send(call(f"http://127.0.0.1:{unused_tcp_port}/"))).reason == "connect"


async def test_plain_http_where_tls_was_expected(outbound):
    """A misconfigured provider; the log should say that it is TLS."""

    async def answer(_, writer):
        writer.write(ok(b""))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        assert (await outbound.send(call(f"https://127.0.0.1:{port}/"))).reason == "tls"


@pytest.mark.parametrize(
    "url",
    ["", "x", "//x/y", "http://", "https://", "https://[::1", "https://a b/", "https://\x00/", "https://\ud800/",
     "https://xn--/", "https://" + "a" * 64 + ".example/", "http://127.0.0.1:99999/", "ftp://x/", "file:///etc/passwd",
     "javascript:1"],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("trusted", [True, False])
async def test_no_url_raises(outbound, url, trusted):
    """A client chooses it: whatever it is, it is a failure and never an exception."""
    assert isinstance(await outbound.send(call(url, trusted=trusted, timeout_seconds=1)), HttpFailure)


@pytest.mark.parametrize("headers", [(("a", "b\r\nc: d"),), (("a b", "c"),), (("a", "\ud800"),)], ids=ascii)
async def test_attack_header_injection(server, outbound, headers):
    """A value that would become another header is not sent."""
    answer = await outbound.send(call(server.url, headers=headers))
    assert answer.reason == "protocol"
    assert server.requests == []


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now, perf_counter=lambda: clock.now))
    return clock


JWKS = "https://idp.example/keys"


async def fetch(outbound, **change):
    """The number of the request that the answer came from, or why there is none."""
    answer = await outbound.send(call(JWKS, **{"cache_seconds": 3600} | change))
    return int(answer.body) if isinstance(answer, HttpReply) and answer.status == 200 else answer


async def test_cached_until_it_expires(recorder, clock):
    """One fetch an hour for discovery and keys, however many sign in."""
    outbound = Outbound(recorder)
    assert [await fetch(outbound), await fetch(outbound)] == [1, 1]
    clock.now += 3599.9
    assert await fetch(outbound) == 1
    clock.now += 0.1
    assert await fetch(outbound) == 2


async def test_what_is_not_to_be_cached_is_not(recorder, clock):
    """Without `cache_seconds`, every call is made, also where the URL is in the cache."""
    outbound = Outbound(recorder)
    assert await fetch(outbound) == 1
    assert [await fetch(outbound, cache_seconds=0), await fetch(outbound, cache_seconds=0)] == [2, 3]
    assert await fetch(outbound) == 1


@pytest.mark.parametrize("first", [404, 500, 302, 204, httpx.ConnectError("x"), httpx.ReadTimeout("x")], ids=repr)
async def test_errors_are_never_cached(clock, first):
    """Protocol rule 4: a client whose site was down for a moment is not locked out for an hour."""
    outbound = Outbound(Recorder(first))
    await fetch(outbound)
    assert await fetch(outbound) == 2


async def test_attack_cache_does_not_lead_past_the_guard(recorder, clock, names):
    """What the admin's own address answered is not told to a client that supplies the same URL, nor the other way."""
    names.table["idp.example"] = [["10.0.0.5"]]
    outbound = Outbound(recorder)
    assert await fetch(outbound) == 1
    assert (await fetch(outbound, trusted=False)).reason == "blocked"
    names.table["idp.example"] = [[PUBLIC]]
    assert await fetch(outbound, trusted=False) == 2
    assert await fetch(outbound) == 1


async def test_attack_made_up_kids(recorder, clock):
    """`fresh` skips the cache at most every 30 s: anybody can send a token with a kid that nobody has."""
    outbound = Outbound(recorder)
    assert [await fetch(outbound), await fetch(outbound, fresh=True)] == [1, 1]
    clock.now += 29.9
    assert await fetch(outbound, fresh=True) == 1
    clock.now += 0.1
    assert [await fetch(outbound, fresh=True), await fetch(outbound, fresh=True), await fetch(outbound)] == [2, 2, 2]


async def test_attack_made_up_kids_while_the_provider_is_down(clock):
    """An attempt that failed counts as well, and what was known stays known."""
    recorder = Recorder(200, 500, 200)
    outbound = Outbound(recorder)
    await fetch(outbound)
    clock.now += 30
    assert (await fetch(outbound, fresh=True)).status == 500
    assert [await fetch(outbound, fresh=True), await fetch(outbound)] == [1, 1]
    assert len(recorder.requests) == 2
    clock.now += 30
    assert await fetch(outbound, fresh=True) == 3


async def test_fifty_waiters_make_one_call(recorder):
    """Single flight: the first sign-ins after a start all need the same key set."""
    recorder.gate.clear()
    outbound = Outbound(recorder)
    waiting = [asyncio.create_task(fetch(outbound, fresh=n % 2 == 0)) for n in range(50)]
    await asyncio.sleep(0.01)
    recorder.gate.set()
    assert await asyncio.gather(*waiting) == [1] * 50
    assert len(recorder.requests) == 1


async def test_waiters_share_a_failure():
    """A provider that does not answer costs everybody one timeout, and not one after the other."""
    recorder = Recorder(*[httpx.ReadTimeout("x")] * 10)
    outbound = Outbound(recorder)
    answers = await asyncio.gather(*(fetch(outbound) for _ in range(10)))
    assert {answer.reason for answer in answers} == {"timeout"}
    assert len(recorder.requests) == 1


async def test_the_first_waiter_may_hang_up(recorder):
    """The others get their answer."""
    recorder.gate.clear()
    outbound = Outbound(recorder)
    waiting = [asyncio.create_task(fetch(outbound)) for _ in range(3)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    await asyncio.sleep(0)
    recorder.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [1, 1]


async def test_attack_cache_flood(recorder, clock, names):
    """Anybody can name new URLs: memory is bounded, and strangers' documents do not push out the providers'."""
    names.table["client.example"] = [[PUBLIC]]
    outbound = Outbound(recorder)
    assert await fetch(outbound) == 1
    for number in range(300):
        await outbound.send(stranger(f"https://client.example/{number}", cache_seconds=3600))
    assert await fetch(outbound) == 1
    assert await outbound.send(stranger("https://client.example/299", cache_seconds=3600))
    assert len(recorder.requests) == 301
    for cache in outbound._caches.values():
        assert len(cache._replies) <= 256
        assert cache._flights == {}


# --- conversations ----------------------------------------------------------------------------------------------------


async def test_a_conversation_is_driven_to_its_end(recorder):
    """House style 6: calls are values; replies and failures come back into the generator."""

    def conversation():
        first = yield call("https://idp.example/1")
        second = yield call("https://idp.example/2")
        third = yield call("")
        return first.body, second.body, type(third)

    assert await Outbound(recorder).converse(conversation()) == (b"1", b"2", HttpReply)


async def test_a_failure_is_sent_into_the_conversation():
    """It decides what a failure means; nothing is raised past it."""

    def conversation():
        return (yield call("https://idp.example/1"))

    failure = await Outbound(Recorder(httpx.ConnectError("x"))).converse(conversation())
    assert failure == HttpFailure("connect", "ConnectError")


async def test_a_conversation_without_a_call(recorder):
    """A provider without revocation: the answer is known at once."""

    def conversation():
        return "done"
        yield

    assert await Outbound(recorder).converse(conversation()) == "done"
    assert recorder.requests == []


async def test_attack_endless_conversation(recorder):
    """Pages that link to each other for ever: bounded, and the generator is closed."""
    closed = []

    def conversation():
        try:
            while True:
                yield call("https://idp.example/page")
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="did not end"):
        await Outbound(recorder).converse(conversation())
    assert len(recorder.requests) <= 60
    assert closed


async def test_an_error_in_a_conversation_is_its_own(recorder):
    """A defect is not swallowed."""

    def conversation():
        yield call("https://idp.example/1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Outbound(recorder).converse(conversation())


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://idp.example/token?code=SECRET",
        "https://idp.example?code=SECRET",
        "https://idp.example#SECRET",
        "https://user:SECRET@idp.example/token",
        "https://SECRET@user@idp.example/token",
    ],
)
@pytest.mark.parametrize("failing", [True, False])
async def test_logs_name_the_host_and_nothing_secret(url, failing):
    """Operations: no token, code, secret or query string ever, on success and on failure."""
    outbound = Outbound(Recorder(httpx.ConnectError(f"SECRET {url}") if failing else 200))
    with capture_logs() as logs:
        await outbound.send(call(url, method="POST", headers=(("authorization", "Basic SECRET"),), body=b"SECRET"))
    assert [entry["event"] for entry in logs] == ["outbound_failed" if failing else "outbound_call"]
    assert logs[0]["host"] in {"idp.example", ""}
    assert "SECRET" not in repr(logs)
