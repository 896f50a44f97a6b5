"""A browser as far as a sign-in needs one: it keeps cookies, follows nothing by itself, and can fill in our form."""

from html.parser import HTMLParser
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from gate.running import Running
from vestibule.crypto.digests import s256

VERIFIER = "v" * 43
HTML = {"accept": "text/html,application/xhtml+xml"}
JSON = {"accept": "application/json"}


class Form(HTMLParser):
    """The hidden field, the ticked boxes and the buttons of the consent page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.request, self.action = "", ""
        self.ticked: list[str] = []
        self.decisions: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = given["action"]
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        match given.get("name"):
            case "request":
                self.request = given["value"]
            case "permission" if "checked" in given:
                self.ticked.append(given["value"])
            case "decision":
                self.decisions.append(given["value"])


class Browser:
    """httpx would drop Secure cookies here, where there is no TLS in front, so the cookies are kept by hand; without
    `verify` each client saves the time to read all certificate authorities.
    """

    def __init__(self, site: Running, provider: str) -> None:
        self.site, self.provider = site, provider
        self.cookies: dict[str, str] = {}
        self._http = httpx.AsyncClient(base_url=site.url, trust_env=False, verify=False, headers=HTML)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get(self, url: str, **headers: str) -> httpx.Response:
        return await self._send("GET", url, None, headers)

    async def post(self, url: str, form: list[tuple[str, str]] | bytes, **headers: str) -> httpx.Response:
        body = form if isinstance(form, bytes) else urlencode(form).encode()
        return await self._send("POST", url, body, {"content-type": "application/x-www-form-urlencoded", **headers})

    async def _send(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies and "cookie" not in sent:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        response = await self._http.request(method, url, content=body, headers=sent)
        self._http.cookies.clear()
        for line in response.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if "max-age=0" in line.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return response

    async def consent(self, url: str) -> Form:
        """The page that an authorization request leads to."""
        response = await self.get(url)
        assert response.status_code == 200, response.text
        return Form(response.text)

    async def decide(self, form: Form, decision: str, *permissions: str, **headers: str) -> httpx.Response:
        chosen = [("permission", item) for item in permissions or form.ticked]
        return await self.post(form.action, [("request", form.request), *chosen, ("decision", decision)], **headers)

    async def depart(self, url: str, provider: str = "acme") -> dict[str, str]:
        """Consent given: what the provider is asked, `state` among it."""
        response = await self.decide(await self.consent(url), f"approve:{provider}")
        assert response.status_code == 303, response.text
        return query_of(response)

    async def sign_in(self, url: str, person: str = "ada") -> httpx.Response:
        """All the way through the provider, back to our callback's answer."""
        asked = await self.depart(url)
        returned = await self.at_provider(asked, person)
        return await self.get(callback(returned))

    async def at_provider(self, asked: dict[str, str], person: str = "ada") -> dict[str, str]:
        """What the development provider sends the browser back with."""
        response = await self._http.post(f"{self.provider}/authorize", data={**asked, "user": person})
        assert response.status_code == 303, response.text
        return query_of(response)


def query_of(response: httpx.Response) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(response.headers["location"]).query, keep_blank_values=True))


def callback(params: dict[str, str], provider: str = "acme") -> str:
    return f"/oauth/callback/{provider}?{urlencode(params)}"


def authorize_url(client: str, **over: str | None) -> str:
    """A good request; None leaves a parameter out."""
    params = {
        "response_type": "code",
        "client_id": client,
        "redirect_uri": "https://portal.example.com/callback",
        "state": "client-state",
        "code_challenge": s256(VERIFIER),
        "code_challenge_method": "S256",
        "resource": "https://gate.example.com/mcp",
        "scope": "read",
    } | over
    return "/oauth/authorize?" + urlencode({name: value for name, value in params.items() if value is not None})
