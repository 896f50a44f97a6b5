"""The person at the browser: reads pages, fills in the real forms, and follows redirects one at a time.

A person knows answers, not addresses: which name and password, which boxes to tick, which button to press. A page that
asks for something else stops the walk, and so does a redirect that leaves loopback or a 307 after a form, which would
repeat the form with its password elsewhere (RFC 9700 §4.12). Requests carry the headers by which a server tells its own
pages from foreign ones, as browsers send them: after `Referrer-Policy: no-referrer` the Origin of a form is `null`
(Fetch, "append a request Origin header"). There is no JavaScript. SameSite needs none here: ports do not make a site.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import httpx

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
MAX_REQUESTS = 30
WALK_SECONDS = 60
REDIRECTS = {301, 302, 303, 307, 308}

Answer = str | bool | Collection[str]
"""Text to type, the value of the radio, option or button to choose, the values of the boxes to tick; True: the one
there is; False: leave it, which for a button means the nameless one."""


@dataclass(frozen=True)
class Control:
    """An input, button, select or textarea of a form. `options` are those of a select."""

    kind: str
    name: str
    value: str
    checked: bool = False
    options: tuple[str, ...] = ()


@dataclass
class Form:
    action: str
    method: str
    controls: list[Control] = field(default_factory=list)

    def names(self) -> set[str]:
        return {control.name for control in self.controls if control.kind != "hidden" and control.name}

    def buttons(self) -> list[Control]:
        return [control for control in self.controls if control.kind == "submit"]

    def values(self, name: str) -> list[str]:
        return [control.value for control in self.controls if control.name == name]


@dataclass(frozen=True)
class Page:
    status: int
    url: str
    html: str
    headers: httpx.Headers

    @property
    def forms(self) -> list[Form]:
        reader = _FormReader()
        reader.feed(self.html)
        return reader.forms

    @property
    def text(self) -> str:
        reader = _TextReader()
        reader.feed(self.html)
        return " ".join(" ".join(reader.parts).split())


class StuckError(Exception):
    """The person cannot go on; `page` is what is on the screen, None if nothing is."""

    def __init__(self, reason: str, page: Page | None = None) -> None:
        shown = f"\n{page.status} {page.url}\n{page.text[:2000]}" if page else ""
        super().__init__(reason + shown)
        self.page = page


class Person:
    """One browser with one cookie jar. `pages` are all responses so far, redirects too, in order."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.jar = CookieJar()
        self.pages: list[Page] = []

    async def walk(self, url: str, until: str) -> str:
        """Open `url`, answer every page, and return the first redirect target that begins with `until`, not opened."""
        answered = set()
        async with asyncio.timeout(WALK_SECONDS):
            shown = await self.visit(url, until)
            while isinstance(shown, Page):
                form = self._form(shown)
                question = (urlsplit(shown.url)[:3], frozenset(form.names()))
                if question in answered:
                    raise StuckError("the same question was asked again", shown)
                answered.add(question)
                shown = await self.submit(shown, form, until=until)
        return shown

    async def visit(self, url: str, until: str | None = None) -> Page | str:
        """Type `url` into the address bar: the page it ends at, or the redirect target that begins with `until`."""
        return await self._follow("GET", url, b"", None, until)

    async def submit(
        self, page: Page, form: Form, answers: Mapping[str, Answer] | None = None, until: str | None = None
    ) -> Page | str:
        """Fill in `form` of `page` and press its button."""
        known = self.answers if answers is None else answers
        query = urlencode(_filled(page, form, known))
        target = urljoin(page.url, form.action)
        if form.method == "get":
            return await self._follow("GET", target.partition("?")[0] + "?" + query, b"", page, until)
        return await self._follow("POST", target, query.encode(), page, until)

    def _form(self, page: Page) -> Form:
        """The form whose questions this person can answer best, buttons included."""
        known = [form for form in page.forms if form.names() & self.answers.keys()]
        if not known:
            raise StuckError(f"no form here asks for any of {sorted(self.answers)}", page)
        return max(known, key=lambda form: len(form.names() & self.answers.keys()))

    async def _follow(self, method: str, url: str, body: bytes, page: Page | None, until: str | None) -> Page | str:
        chain: list[str] = []
        async with httpx.AsyncClient(cookies=self.jar, timeout=20, trust_env=False) as browser:
            while len(chain) < MAX_REQUESTS:
                if urlsplit(url).scheme != "http" or urlsplit(url).hostname not in LOOPBACK:
                    raise StuckError(f"led off loopback, to {url}", self.pages[-1] if self.pages else None)
                chain.append(url)
                headers = _browser_headers(method, page, chain)
                try:
                    reply = await browser.request(method, url, content=body or None, headers=headers)
                except httpx.TransportError as error:
                    raise StuckError(f"no answer from {url}: {error!r}") from error
                shown = Page(reply.status_code, url, reply.text, reply.headers)
                self.pages.append(shown)
                if reply.status_code not in REDIRECTS:
                    return shown
                if method == "POST" and reply.status_code in {307, 308}:
                    raise StuckError("a form would be repeated at another address", shown)
                url, method, body = urljoin(url, reply.headers["location"]), "GET", b""
                if until is not None and url.startswith(until):
                    return url
        raise StuckError(f"{MAX_REQUESTS} redirects and no end", self.pages[-1])


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _browser_headers(method: str, page: Page | None, chain: list[str]) -> dict[str, str]:
    """What a browser says about where a navigation comes from; all of the redirect chain counts (Fetch Metadata)."""
    headers = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "sec-fetch-mode": "navigate"}
    headers |= {"sec-fetch-dest": "document", "sec-fetch-user": "?1"}
    if page is None:
        return headers | {"sec-fetch-site": "none"}
    policy = page.headers.get("referrer-policy", "strict-origin-when-cross-origin")
    same_origin = all(_origin(url) == _origin(page.url) for url in chain)
    same_site = all(urlsplit(url).hostname == urlsplit(page.url).hostname for url in chain)
    headers["sec-fetch-site"] = "same-origin" if same_origin else "same-site" if same_site else "cross-site"
    hidden = policy == "no-referrer" or (policy == "same-origin" and not same_origin)
    if method == "POST":
        headers |= {
            "origin": "null" if hidden else _origin(page.url),
            "content-type": "application/x-www-form-urlencoded",
        }
    if not hidden:
        headers["referer"] = page.url if same_origin else _origin(page.url) + "/"
    return headers


def _filled(page: Page, form: Form, answers: Mapping[str, Answer]) -> list[tuple[str, str]]:
    """The form's data set (HTML, "constructing the entry list"), in the order of its controls."""
    _refuse_what_is_not_offered(page, form, answers)
    pressed = _pressed(page, form, answers)
    entries: list[tuple[str, str]] = []
    for control in form.controls:
        answer = answers.get(control.name)
        match control.kind:
            case "submit":
                chosen = control is pressed
            case "checkbox" | "radio":
                chosen = control.checked if answer is None else _chosen(answer, control.value)
            case "hidden":
                chosen = True
            case "select":
                chosen = True
                control = Control("select", control.name, str(answer) if answer is not None else control.value)  # noqa: PLW2901
            case _:
                chosen = True
                control = Control("text", control.name, control.value if answer is None else str(answer))  # noqa: PLW2901
        if chosen and control.name:
            entries.append((control.name, control.value))
    return entries


def _chosen(answer: Answer, value: str) -> bool:
    if isinstance(answer, bool):
        return answer
    return value == answer if isinstance(answer, str) else value in answer


def _pressed(page: Page, form: Form, answers: Mapping[str, Answer]) -> Control | None:
    """The button that the answers name, else the nameless one; a person never guesses between two."""
    named = [b for b in form.buttons() if b.name in answers and _chosen(answers[b.name], b.value)]
    if len(named) > 1:
        raise StuckError(f"several buttons fit the answers: {named}", page)
    nameless = [button for button in form.buttons() if not button.name]
    if not named and not nameless and form.buttons():
        raise StuckError(f"no answer says which button to press: {form.buttons()}", page)
    return (named or nameless or [None])[0]


def _refuse_what_is_not_offered(page: Page, form: Form, answers: Mapping[str, Answer]) -> None:
    """Nobody ticks a box that is not there: a test that wants to send it anyway writes the request by hand."""
    for control in form.controls:
        answer = answers.get(control.name)
        if answer is None or isinstance(answer, bool) or control.kind not in {"checkbox", "radio", "select", "submit"}:
            continue
        offered = set(control.options or form.values(control.name))
        wanted = {answer} if isinstance(answer, str) else set(answer)
        if not wanted <= offered:
            raise StuckError(f"{control.name} offers {sorted(offered)}, not {sorted(wanted - offered)}", page)


class _FormReader(HTMLParser):
    """Collects forms and their controls; disabled ones are not sent, so they are not collected."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._select: dict[str, Any] | None = None
        self._textarea: tuple[str, list[str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(has.get("action", ""), has.get("method", "get").lower())
            self.forms.append(self._form)
        if self._form is None or "disabled" in has:
            return
        name, value = has.get("name", ""), has.get("value", "")
        if tag == "input":
            self._input(self._form, has)
        elif tag == "button" and has.get("type", "submit").lower() == "submit":
            self._form.controls.append(Control("submit", name, value))
        elif tag == "select":
            self._select = {"name": name, "options": [], "chosen": None}
        elif tag == "option" and self._select is not None:
            self._select["options"].append(value)
            if "selected" in has:
                self._select["chosen"] = value
        elif tag == "textarea":
            self._textarea = (name, [])

    def _input(self, form: Form, has: dict[str, str]) -> None:
        kind = has.get("type", "text").lower()
        unset = "on" if kind in {"checkbox", "radio"} else ""
        if kind not in {"button", "reset"}:
            control = Control(kind, has.get("name", ""), has.get("value", unset), checked="checked" in has)
            form.controls.append(control)

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            self._textarea[1].append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select" and self._select is not None and self._form is not None:
            options = tuple(self._select["options"])
            chosen = self._select["chosen"] or (options[0] if options else "")
            self._form.controls.append(Control("select", self._select["name"], chosen, options=options))
            self._select = None
        elif tag == "textarea" and self._textarea is not None and self._form is not None:
            self._form.controls.append(Control("text", self._textarea[0], "".join(self._textarea[1])))
            self._textarea = None


class _TextReader(HTMLParser):
    """What a person reads: no tags, styles or scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # as the base
        self._silent += tag in {"style", "script"}

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in {"style", "script"}

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)
