"""The pages as a person's browser gets them: what is shown, what is defused, and what the policy lets happen."""

import base64
import hashlib
import re
import time
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from vestibule.web import pages
from vestibule.web.pages import (
    ConsentPage,
    DevSignInPage,
    DevUser,
    ErrorPage,
    PermissionChoice,
    ProviderChoice,
    address,
    initial,
    linked,
    render,
    shown,
)

BLOB = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImEifQ.eyJyIjoiJlw8PiJ9.c2ln-bmF0_dXJl"
OVERRIDE = "\u202e"
CONSENT = ConsentPage(
    client_name="Claude Code",
    client_domain=None,
    client_source="dcr",
    redirect_uri="http://127.0.0.1:33418/callback",
    redirect_host="127.0.0.1:33418",
    loopback=True,
    resource_url="https://gate.example.com/mcp",
    resource_title="Acme Issues",
    permissions=(
        PermissionChoice(id="read", title="Read issues", ticked=True, provider_scopes=[("GitHub", "read:org")]),
        PermissionChoice(id="write", title="Change issues", description="Create, edit and close."),
        PermissionChoice(id="plain", title="Neither description nor scopes"),
    ),
    providers=(ProviderChoice(id="github", title="GitHub"),),
    action="/oauth/consent",
    request=BLOB,
)
CIMD = replace(
    CONSENT,
    client_source="cimd",
    client_domain="claude.ai",
    redirect_uri="https://claude.ai/cb",
    redirect_host="claude.ai",
    loopback=False,
    providers=(ProviderChoice(id="github", title="GitHub"), ProviderChoice(id="clerk", title="Clerk")),
)
ERROR = ErrorPage(
    status=403,
    title="Not allowed in",
    description="Limited to certain people.",
    advice="Ask the operator.",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    return_url="https://claude.ai/cb?error=access_denied&state=a%20b",
    return_label="Back to Claude",
)
DEV = DevSignInPage(
    users=(
        DevUser(id="ada", name="Ada Park", email="ada@acme.example", note="Member of acme/platform"),
        DevUser(id="bob", name="Bob Silva", email="bob@acme.example"),
    ),
    action="/dev/authorize",
    hidden={"state": BLOB, "nonce": 'quote"and<tag>'},
    client_name="Acme Issues",
    scopes=("openid",),
)
EVERY_PAGE = pytest.mark.parametrize(
    "model",
    [CONSENT, CIMD, ERROR, replace(ERROR, return_url=None), DEV],
    ids=["dcr", "cimd", "error", "no link", "dev"],
)


class Document(HTMLParser):
    """Elements in order with their attributes and text; refuses what is never closed or closed twice."""

    VOID = frozenset({"meta", "input", "link", "br", "img", "path", "circle"})

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.stack: list[str] = []
        self.feed(html.decode())
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"repeated attribute in <{tag}>"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" not in self.stack:
            self.text = " ".join(f"{self.text}{data}".split()) + (" " if data[-1:].isspace() else "")

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [a for name, a in self.elements if name == tag and attributes.items() <= a.items()]


def document(model) -> Document:
    return Document(render(model).html)


# --- the policy of every page -----------------------------------------------------------------------------------------


@EVERY_PAGE
def test_headers_are_complete(model):
    """RFC 6749 §10.13 (framing), RFC 9700 §4.2.4 (referrer), and nothing kept in a cache."""
    headers = dict(render(model).headers)
    assert len(headers) == len(render(model).headers)
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["x-robots-tag"] == "noindex"
    assert "camera=()" in headers["permissions-policy"]


@EVERY_PAGE
def test_csp_allows_this_stylesheet_and_nothing_else(model):
    """CSP Level 3 §2.3.1: the hash is over the exact bytes between <style> and </style>."""
    page = render(model)
    [style] = re.findall(rb"<style>(.*?)</style>", page.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert dict(page.headers)["content-security-policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
    )


@EVERY_PAGE
def test_no_form_action_in_csp(model):
    """Browsers apply form-action to the redirects after a submit: cursor://… and 127.0.0.1 would be blocked."""
    assert "form-action" not in dict(render(model).headers)["content-security-policy"]


@EVERY_PAGE
def test_no_script_no_inline_style_nothing_loaded(model):
    """The CSP would block all of it anyway; a page that needs none of it never shows a hole."""
    page = document(model)
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base"}
        assert "src" not in attributes
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert "href" not in attributes or tag == "a"
    [style] = re.findall(rb"<style>(.*?)</style>", render(model).html, re.DOTALL)
    assert not re.search(rb"url\(|@import|https?:|<", style)


@EVERY_PAGE
def test_structure_for_assistive_technology(model):
    """WCAG 2.2: 3.1.1 language, 2.4.2 title, 1.3.1 landmarks and one h1, 4.1.1 ids once, 4.1.2 names."""
    page = document(model)
    [root] = page.all("html")
    assert root["lang"] == "en"
    assert [len(page.all(tag)) for tag in ("title", "header", "main", "footer", "h1")] == [1, 1, 1, 1, 1]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels == sorted(levels)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    labels = {a["for"] for a in page.all("label")}
    for attributes in page.all("input"):
        assert attributes["type"] == "hidden" or attributes["id"] in labels
    for _, attributes in page.elements:
        assert set(attributes.get("aria-describedby", "").split()) <= set(ids)
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg"))


# --- consent ----------------------------------------------------------------------------------------------------------


def test_consent_shows_who_what_and_where():
    """Design decision 3: name, full redirect URI, resource, permissions and the provider scopes they imply."""
    text = document(CONSENT).text
    for part in (
        "Claude Code wants to use Acme Issues",
        "https://gate.example.com/mcp",
        "This computer, 127.0.0.1:33418",
        "http://127.0.0.1:33418/callback",
        "Read issues",
        "Asks GitHub for read:org",
        "Create, edit and close.",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"client_source": "dcr"}, "Registered by itself; the name is its own claim"),
        ({"client_source": "dcr", "client_domain": "claude.ai"}, "Registered by itself; the name is its own claim"),
        ({"client_source": "cimd"}, "Described by itself; the name is its own claim"),
        ({"client_source": "cimd", "client_domain": "claude.ai"}, "Verified domain: claude.ai"),
        ({"client_source": "configured"}, "Set up by the operator of this gateway"),
    ],
)
def test_origin_of_the_client(change, says):
    """Only a client ID metadata document verifies a domain; a registration's name is the client's own claim."""
    text = document(replace(CONSENT, **change)).text
    assert says in text
    assert ("Verified" in text) == says.startswith("Verified")


@pytest.mark.parametrize("loopback", [True, False])
def test_loopback_warning(loopback):
    """RFC 8252 §8.3: any program may listen on loopback, so the person has to know who started this."""
    warning = (
        "Any program on this computer can receive this. Continue only if you just started the sign-in from Claude Code."
    )
    text = document(replace(CONSENT, loopback=loopback)).text
    assert (warning in text) == loopback
    assert ("This computer" in text) == loopback


def test_permissions_are_a_labelled_group_and_only_asked_ones_are_ticked():
    """WCAG 1.3.1 and 4.1.2; design decision 3: only requested permissions are ticked beforehand."""
    page = document(CONSENT)
    assert [len(page.all(tag)) for tag in ("fieldset", "legend")] == [1, 1]
    boxes = page.all("input", type="checkbox", name="permission")
    assert [(box["value"], "checked" in box) for box in boxes] == [("read", True), ("write", False), ("plain", False)]
    assert ["aria-describedby" in box for box in boxes] == [True, True, False]


@pytest.mark.parametrize(
    ("model", "decisions"),
    [(CONSENT, ["approve:github", "deny"]), (CIMD, ["approve:github", "approve:clerk", "deny"])],
    ids=["one provider", "chooser"],
)
def test_decisions(model, decisions):
    """The chooser of providers is one button each: it needs no script and no second page."""
    page = document(model)
    assert [b["value"] for b in page.all("button", name="decision")] == decisions
    assert len(page.all("button")) == len(decisions)
    assert all(f"Continue with {provider.title}" in page.text for provider in model.providers)


def test_form_carries_the_request_intact():
    """The signed request comes back byte for byte, by POST, to our own path."""
    page = document(CONSENT)
    assert page.all("form", method="post", action="/oauth/consent")
    assert page.all("input", type="hidden") == [{"type": "hidden", "name": "request", "value": BLOB}]


def test_scopes_of_several_providers_are_grouped():
    """A permission may imply scopes at each provider; one line for each of them."""
    scopes = [("GitHub", "repo"), ("Clerk", "user:read"), ("GitHub", "read:org")]
    permission = PermissionChoice(id="a", title="A", provider_scopes=scopes)
    text = document(replace(CONSENT, permissions=[permission])).text
    assert "Asks Clerk for user:read" in text
    assert "Asks GitHub for repo read:org" in text


# --- what strangers chose ---------------------------------------------------------------------------------------------

HOSTILE = '"><script>alert(1)</script><b>&amp;'


def test_attack_html_in_client_name():
    """A registration chooses its name: it appears as text, in the title, the heading and everywhere else."""
    clean, attacked = document(CONSENT), document(replace(CONSENT, client_name=HOSTILE))
    assert attacked.elements == clean.elements
    assert f"{HOSTILE} wants to use Acme Issues" in attacked.text


@pytest.mark.parametrize(
    "field", ["client_name", "redirect_uri", "redirect_host", "resource_url", "resource_title", "request", "action"]
)
def test_attack_html_in_any_consent_field(field):
    """The same tags with or without the attack, whichever value carries it."""
    tags = [tag for tag, _ in document(CONSENT).elements]
    assert [tag for tag, _ in document(replace(CONSENT, **{field: HOSTILE})).elements] == tags


@pytest.mark.parametrize("field", ["title", "description", "advice", "trace_id", "return_label"])
def test_attack_html_in_any_error_field(field):
    """A provider's error text may end up on an error page."""
    assert document(replace(ERROR, **{field: HOSTILE})).elements == document(ERROR).elements


def test_attack_html_in_permission_and_people():
    """Config is trusted, and escaped all the same."""
    permission = PermissionChoice(id=HOSTILE, title=HOSTILE, description=HOSTILE, provider_scopes=[(HOSTILE, HOSTILE)])
    assert not document(replace(CONSENT, permissions=[permission])).all("script")
    person = DevUser(id=HOSTILE, name=HOSTILE, email=HOSTILE, note=HOSTILE)
    page = document(replace(DEV, users=[person], client_name=HOSTILE, scopes=[HOSTILE]))
    assert not page.all("script")
    assert page.all("button", name="user", value=HOSTILE)


def test_attack_bidi_override_in_client_name():
    """A right-to-left override would turn the words behind the name around: removed, and the name isolated."""
    page = render(replace(CONSENT, client_name=f"edoC {OVERRIDE}evil"))
    assert OVERRIDE not in page.html.decode()
    assert b"<bdi>edoC evil</bdi>" in page.html


def test_attack_long_name_hides_the_redirect():
    """A name of any length leaves the redirect URI where it is; the URI itself is never cut."""
    uri = "https://claude.ai/" + "a" * 2000
    text = document(replace(CIMD, client_name="x" * 5000, redirect_uri=uri)).text
    assert uri in text
    assert "x" * (pages.LONGEST_NAME - 1) + "…" in text
    assert "x" * pages.LONGEST_NAME not in text


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("Claude Code", "Claude Code"),
        ("  two\n\nlines\u2028three\u00a0 ", "two lines three"),
        (f"a{OVERRIDE}b\u2066c\u200fd", "abcd"),
        ("a\u200bb\ufeffc\u00add\x00e", "abcde"),
        ("a\U000e0041b\ue000c\ud800d", "abcd"),
        ("\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u200c\u062e\u0648"),
        ("👩\u200d💻 Pair", "👩\u200d💻 Pair"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
    ],
)
def test_shown(name, result):
    """Invisible and reordering characters go, joiners that scripts and emoji need stay, long names are cut."""
    assert shown(name) == result


@pytest.mark.parametrize(
    ("uri", "result"),
    [
        ("https://a.example/cb?x=%20&y='\"<>", "https://a.example/cb?x=%20&y='\"<>"),
        ("https://\u0440\u0430ypal.example/", "https://%D1%80%D0%B0ypal.example/"),
        (f"https://a.example/{OVERRIDE}b c\n", "https://a.example/%E2%80%AEb%20c%0A"),
        ("cursor://anysphere.cursor-retrieval/cb", "cursor://anysphere.cursor-retrieval/cb"),
    ],
)
def test_address(uri, result):
    """Look-alike letters (two Cyrillic ones above) and invisible characters show as what they are."""
    assert address(uri) == result


@pytest.mark.parametrize(("name", "letter"), [("claude", "C"), ("«über»", "Ü"), ("ßeta", "S"), ("🙂", ""), ("", "")])
def test_initial(name, letter):
    """One letter for the tile, or none."""
    assert initial(name) == letter


# --- error page -------------------------------------------------------------------------------------------------------


def test_error_page():
    """Status, what happened, what to do next, the trace id, and a way back that carries the OAuth error."""
    page = document(ERROR)
    assert render(ERROR).status == 403
    for part in (ERROR.title, ERROR.description, ERROR.advice, ERROR.trace_id, "Back to Claude"):
        assert part in page.text
    [link] = page.all("a")
    assert link["href"] == ERROR.return_url


def test_error_page_without_a_way_back():
    """An unknown client or redirect URI is never linked (RFC 6749 §4.1.2.1)."""
    assert not document(replace(ERROR, return_url=None, return_label=None)).all("a")


@pytest.mark.parametrize(
    ("uri", "is_linked"),
    [
        ("https://claude.ai/cb?error=access_denied", True),
        ("http://127.0.0.1:33418/cb", True),
        ("cursor://anysphere.cursor-retrieval/cb", True),
        ("com.example.app:/cb", True),
        ("javascript:alert(1)", False),
        ("JavaScript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("\x01javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("view-source:https://a.example", False),
        ("//evil.example", False),
        ("/cb", False),
        ("", False),
        (None, False),
    ],
)
def test_attack_script_url_as_way_back(uri, is_linked):
    """A link runs nothing here and goes to an absolute address, whatever was registered."""
    assert bool(linked(uri)) == is_linked
    assert bool(document(replace(ERROR, return_url=uri)).all("a")) == is_linked


# --- development sign-in ----------------------------------------------------------------------------------------------


def test_dev_sign_in():
    """One button for each made-up person, a refusal, a banner that cannot be missed, all hidden fields intact."""
    page = document(DEV)
    assert [b["value"] for b in page.all("button", name="user")] == ["ada", "bob"]
    assert len(page.all("button", name="deny")) == 1
    assert page.all("form", method="post", action="/dev/authorize")
    assert {i["name"]: i["value"] for i in page.all("input", type="hidden")} == DEV.hidden
    for part in ("Development only.", "Who do you want to be?", "Ada Park", "ada@acme.example", "acme/platform"):
        assert part in page.text


# --- looks that can be measured ---------------------------------------------------------------------------------------


def colours(scheme: str) -> dict[str, str]:
    [style] = re.findall(r"<style>(.*?)</style>", render(CONSENT).html.decode(), re.DOTALL)
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return dict(re.findall(r"--([a-z-]+): #([0-9a-f]{6});", light if scheme == "light" else dark))


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "backs", "ratio"),
    [
        ("ink", ("page", "glow", "card", "sunk", "tint"), 4.5),
        ("soft", ("page", "glow", "card", "sunk", "tint"), 4.5),
        ("accent", ("card", "tint"), 4.5),
        ("on-accent", ("accent", "accent-hover"), 4.5),
        ("warn", ("warn-fill", "card"), 4.5),
        ("edge", ("card", "sunk", "tint"), 3.0),
        ("accent", ("card", "sunk", "page"), 3.0),
    ],
)
def test_contrast(scheme, front, backs, ratio):
    """WCAG 2.2: 1.4.3 text 4.5:1; 1.4.11 borders of controls and the focus ring 3:1."""
    palette = colours(scheme)
    for back in backs:
        low, high = sorted((luminance(palette[front]), luminance(palette[back])))
        assert (high + 0.05) / (low + 0.05) >= ratio, f"{front} on {back}"


def test_both_schemes_define_the_same_colours():
    """A colour missing in the dark would fall back to the light one."""
    assert colours("light").keys() == colours("dark").keys()


def test_render_is_fast():
    """Under 2 ms with twelve permissions: best of twenty, so that a busy machine does not decide."""
    model = replace(CONSENT, permissions=CONSENT.permissions * 4)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        render(model)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.002
