"""One rule a row: what is written, where the error points, what it says. The config is that of `conftest`."""

import pytest

from vestibule.loading import ConfigError, load_config

ROUTE = "  - id: issues\n    path: /mcp\n    backend: http://127.0.0.1:9000/mcp\n"
ALLOW = "    allow: [{email_domain: acme.com}]"
SEND = "      authorization: strip"
REDIRECTS = "redirect_uris: [https://portal.example.com/callback]"
NAMED = "1 to 64 lower-case letters, digits, - and _"
LONG = "x" * 43


def problems(workspace):
    with pytest.raises(ConfigError) as caught:
        load_config(workspace.path, workspace.env)
    return caught.value.problems


def test_the_config_that_the_rows_break_is_right(workspace):
    loaded = load_config(workspace.path, workspace.env)
    assert loaded.config.routes[0].id == "issues"
    assert loaded.config.lifetimes.access_token == 3600
    assert loaded.providers["acme"].title == "Acme"


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "found", "expected"),
    [
        # --- shapes
        ("public_url: ", "publik_url: ", 1, "publik_url", 'the unknown key "publik_url"', "one of public_url, storage"),
        ("path: /mcp", "path: mcp", 11, "routes[0].path", '"mcp"', "a path such as /mcp"),
        ("path: /mcp", "path: 7", 11, "routes[0].path", "7", "a path such as /mcp"),
        ("    path: /mcp\n", "", 10, "routes[0].path", "nothing", "a path such as /mcp"),
        ("id: issues", "id: Is sues", 10, "routes[0].id", '"Is sues"', NAMED),
        ("  acme:\n", "  Acme:\n", 6, "providers.Acme", 'the key "Acme"', f"a name: {NAMED}"),
        ("providers: [acme]", "providers: acme", 13, "routes[0].providers", '"acme"', "a list with at least one entry"),
        ("providers: [acme]", "providers: []", 13, "routes[0].providers", "an empty list", "a list with at least one"),
        ("{title: Read}", "{title: true}", 16, "routes[0].permissions.read.title", "true", "text"),
        ("{title: Read}", "{title: R, default: yes}", 16, "routes[0].permissions.read.default", '"yes"', "true or"),
        (SEND, "      headers: {X-Id: id}", 18, "routes[0].send.headers.X-Id", '"id"', '"client_id" or "email" or'),
        ("name: Portal", "name:", 21, "clients[0].name", "nothing", "text"),
        ("access_token: 1h", "access_token: 1y", 23, "lifetimes.access_token", '"1y"', "a duration such as 90, 90s"),
        ("access_token: 1h", "access_token: 59s", 23, "lifetimes.access_token", '"59s"', "from 1m to 1d"),
        ("access_token: 1h", "access_token: 2d", 23, "lifetimes.access_token", '"2d"', "from 1m to 1d"),
        ("access_token: 1h", "refresh_token: 59m", 23, "lifetimes.refresh_token", '"59m"', ", at least 1h"),
        ("access_token: 1h", "login: 0", 23, "lifetimes.login", "0", "30d, from 1s to 10m"),
        ("lifetimes: {access_token: 1h}", "lifetimes:", 23, "lifetimes", "nothing", "a section with"),
        ("lifetimes: {access_token: 1h}", "clients: []", 23, "clients", '"clients" again', "each key once"),
        ("lifetimes: {access_token: 1h}", "registration: {max_unconfirmed: -1}", 23, "registration.max_unconfirmed",
         "-1",
         "a whole number, at least 1"),
        # --- the gateway itself
        ("https://gate.example.com",
         "http://gate.example.com", 1, "public_url", '"http://gate.example.com"', "https, unless"),
        ("https://gate.example.com",
         "https://gate.example.com/", 1, "public_url", '"https://gate.example.com/"', "scheme, h"),
        ("https://gate.example.com",
         "https://Gate.example.com", 1, "public_url", '"https://Gate.example.com"', "lower case"),
        ("https://gate.example.com", "https://gate.example.com:443", 1, "public_url", '"https://gate.example.com:443"',
         "lower case and no default port"),
        ("https://gate.example.com", "https://gate:port", 1, "public_url", '"https://gate:port"', "a URL with a host"),
        ("https://gate.example.com", "https://a\\b", 1, "public_url", '"https://a\\\\b"', "a URL with a host"),
        ("secrets:", "storage: postgresql://h/db\nsecrets:", 2, "storage", '"postgresql://h/db"', "sqlite:///<file>"),
        ("secrets:", "storage: postgresql://u:p@h/db\nsecrets:", 2, "storage",
         "a URL with credentials or a query (not shown)", "sqlite:///<file>"),
        ("secrets:", "storage: 'sqlite:///'\nsecrets:", 2, "storage", '"sqlite:///"', "sqlite:///<file>"),
        ('["${SIGNING}"]', "[short]", 3, "secrets.signing[0]", "a weak secret", "32 random bytes"),
        ('["${SIGNING}"]', f"[{LONG}]", 3, "secrets.signing[0]", "a weak secret", "32 random bytes"),
        ('["${SEALING}"]', '["${SEALING}", "${SEALING} "]', 4, "secrets.sealing[1]", "a weak secret",
         "32 random bytes"),
        ('["${SEALING}"]', "[]", 4, "secrets.sealing", "an empty list", "a list with at least one entry"),
        ("secrets:",
         "trusted_proxies: [10.0.0.0/8, '::1', ten]\nsecrets:", 2, "trusted_proxies[2]", '"ten"', "an address"),
        # --- providers
        ("{id: app,", '{id: "",', 8, "providers.acme.client.id", '""', "the client id that the provider gave"),
        ("./acme.yaml", "acmee", 7, "providers.acme.definition", '"acmee"', "a definition of the catalog"),
        ('    client: {id: app, secret: "${ACME_SECRET}"}\n', "", 6, "providers.acme.client", "nothing",
         "a section with id"),
        ("client: {id: app,", "params: {bsae: x}\n    client: {id: app,", 8, "providers.acme.params.bsae",
         "unknown parameter", "one of base"),
        ("client: {id: app,", "params: {base: 'http://x'}\n    client: {id: app,", 8, "providers.acme.params.base",
         '"http://x"', "does not match https://[a-z.]+"),
        (', secret: "${ACME_SECRET}"}', "}", 8, "providers.acme.client.secret", "nothing",
         "this provider needs a client secret"),
        ("providers: [acme]",
         "providers: [acmee]", 13, "routes[0].providers[0]", '"acmee"', "a provider configured under"),
        ("providers: [acme]", "providers: [acme, acme]", 13, "routes[0].providers[1]", '"acme"', "each provider once"),
        # --- routes
        ("path: /mcp", "path: /oauth/x", 11, "routes[0].path", '"/oauth/x"', "a path that does not overlap /oauth"),
        ("path: /mcp", "path: /account", 11, "routes[0].path", '"/account"', "a path that does not overlap /account"),
        ("path: /mcp", "path: /a/../b", 11, "routes[0].path", '"/a/../b"', "a path without empty and dot segments"),
        ("path: /mcp", "path: //a", 11, "routes[0].path", '"//a"', "a path without empty and dot segments"),
        ("http://127.0.0.1:9000/mcp", "http://a:b/", 12, "routes[0].backend", '"http://a:b/"', "a URL with a host"),
        ("http://127.0.0.1:9000/mcp", "http://u:p@h/", 12, "routes[0].backend", "a URL with credentials (not shown)",
         "a URL without user and password"),
        ("http://127.0.0.1:9000/mcp", "http://h/?a=b", 12, "routes[0].backend",
         "a URL with credentials or a query (not shown)", "an http or https URL"),
        (ROUTE, ROUTE.replace("mcp", "m") + "    providers: [acme]\n    allow: anyone\n" + ROUTE, 15, "routes[1].id",
         '"issues"', "a id of its own"),
        (ROUTE, ROUTE.replace("issues", "other").replace("/mcp\n", "/mcp/\n", 1)
         + "    providers: [acme]\n    allow: anyone\n" + ROUTE, 16, "routes[1].path", '"/mcp"', "a path of its own"),
        (ALLOW, "    origins: [https://a.com/]\n" + ALLOW, 14, "routes[0].origins[0]", '"https://a.com/"',
         "an origin such"),
        # --- who may enter (design decision 8)
        (ALLOW, "", 10, "routes[0].allow", "nothing", "who may enter"),
        (ALLOW, "    allow: []", 14, "routes[0].allow", "an empty list", "who may enter"),
        (ALLOW, "    allow: everyone", 14, "routes[0].allow", '"everyone"', '"anyone", or a list'),
        (ALLOW, "    allow: [{}]", 14, "routes[0].allow[0]", "an empty entry", "at least one condition"),
        (ALLOW, "    allow: [{email: ''}]", 14, "routes[0].allow[0].email", '""', "one e-mail address"),
        (ALLOW, "    allow: [{email: a@b@c.com}]", 14, "routes[0].allow[0].email", '"a@b@c.com"', "one e-mail address"),
        (ALLOW, "    allow: [{email_domain: '@a.com'}]", 14, "routes[0].allow[0].email_domain", '"@a.com"',
         "a domain name"),
        (ALLOW, "    allow: [{group: platform}]", 14, "routes[0].allow[0].group", '"platform"', "<provider>:<group>"),
        (ALLOW, "    allow: [{group: 'b:x'}]", 14, "routes[0].allow[0].group", '"b:x"',
         "a provider of this route: acme"),
        (ALLOW, "    allow: [{subject: 'b:1'}]", 14, "routes[0].allow[0].subject", '"b:1"',
         "a provider of this route: acme"),
        (ALLOW, "    allow: [{subject: '1'}]", 14, "routes[0].allow[0].subject", '"1"', "<provider>:<subject>"),
        (ALLOW, "    allow: [{provider: b}]", 14, "routes[0].allow[0].provider", '"b"',
         "a provider of this route: acme"),
        (ALLOW, "    allow: [{service: ci, email: a@b.c}]", 14, "routes[0].allow[0]",
         "`service` together with conditions on a person", "`service` alone"),
        # --- permissions
        ("{title: Read}", "{title: R, scopes: {b: [x]}}", 16, "routes[0].permissions.read.scopes.b", "a list",
         "a provider of this route: acme"),
        ("{title: Read}", "{title: R, match: {methods: [get]}}", 16, "routes[0].permissions.read.match.methods",
         "a list",
         "HTTP methods in upper case"),
        ("{title: Read}", "{title: R, match: {paths: [a]}}", 16, "routes[0].permissions.read.match.paths", "a list",
         "path patterns such as"),
        ("{title: Read}", "{title: R, match: {mcp: {tools: ['']}}}", 16, "routes[0].permissions.read.match.mcp.tools",
         "a list", "patterns that are not empty"),
        # --- what is sent
        (SEND, "      authorization: {}", 18, "routes[0].send.authorization", "neither", "exactly one of"),
        (SEND, "      authorization: {provider_token: acme, static: x}", 18, "routes[0].send.authorization", "both",
         "exactly one of provider_token and static"),
        (SEND, "      authorization: {provider_token: b}", 18, "routes[0].send.authorization.provider_token", '"b"',
         "a provider of this route: acme"),
        (SEND, "      authorization: Bearer x", 18, "routes[0].send.authorization", "text (not shown)",
         '"signed_jwt" or "strip", or a section with provider_token, static'),
        *(
            (SEND, f"      headers: {{{name}: sub}}", 18, f"routes[0].send.headers.{name}", f"the header {name}",
             "a header of your own")
            for name in ("Authorization", "host", "Content-Length", "Content_Type", "COOKIE", "Connection", "TE",
                         "Transfer-Encoding", "Upgrade", "Proxy-Authorization")
        ),
        (SEND, "      headers: {X User: sub}", 18, 'routes[0].send.headers["X User"]',
         "a name with characters that headers cannot have", "a header name"),
        (SEND, "      headers: {X-User: sub, x_user: email}", 18, "routes[0].send.headers.x_user",
         "x_user beside X-User",
         "names that differ in more than case, -, _ and ."),
        # --- clients
        ("id: portal", "id: a b", 20, "clients[0].id", '"a b"', "1 to 128 letters"),
        (REDIRECTS, "redirect_uris: ['javascript:x']", 22, "clients[0].redirect_uris[0]", '"javascript:x"',
         "an https URL, http"),
        (REDIRECTS, "redirect_uris: ['http://a.com/']", 22, "clients[0].redirect_uris[0]", '"http://a.com/"',
         "an https URL"),
        (REDIRECTS, REDIRECTS + "\n    consent: trusted", 23, "clients[0].consent", '"trusted"',
         "ask, for a client without"),
        (REDIRECTS, "redirect_uris: ['http://127.0.0.1/']\n    secret: x\n    consent: trusted", 24,
         "clients[0].consent",
         '"trusted"', "ask, for a client with redirect URIs other than https"),
        (REDIRECTS, f"{REDIRECTS}\n  - {{id: portal, name: P, {REDIRECTS}}}", 23, "clients[1].id", '"portal"',
         "a id of"),
    ],
)  # fmt: skip
def test_a_broken_config_names_line_path_found_and_expected(workspace, old, new, line, path, found, expected):
    """One mistake, told where it was made. A follow-up may be told too, but never in its place."""
    workspace.edit(old, new)
    told = [(p.file, p.line, p.path, p.found) for p in problems(workspace) if expected in p.expected]
    assert told == [("vestibule.yaml", line, path, found)]


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("lifetimes:", "lifetime:", "did you mean lifetimes?"),
        ("providers: [acme]", "providers: [acmee]", "did you mean acme?"),
        ("{title: Read}", "{title: 7}", "put it in quotes"),
        ("{title: Read}", "{title: R, default: True}", "only true and false"),
        ("providers: [acme]", "providers: acme", "a list of one is written [like this]"),
        ("lifetimes: {access_token: 1h}", "registration: {confirmed_days: '7'}", "remove the quotes"),
        (ALLOW, "", "write `allow: [{email_domain: example.com}]`, or `allow: anyone`"),
        (ALLOW, "    allow: anyon", "did you mean anyone?"),
        ("./acme.yaml", "githb", "did you mean github?"),
        ("https://gate.example.com", "https://GATE.example.com:443", "write https://gate.example.com"),
        ('["${SIGNING}"]', "[short]", "`vestibule secrets`"),
        ("name: Portal", "name:", "write a value, or remove the key"),
        (SEND, "      authorization: stripp", "did you mean strip?"),
    ],
)  # fmt: skip
def test_a_hint_says_what_to_write(workspace, old, new, hint):
    workspace.edit(old, new)
    assert any(hint in p.hint for p in problems(workspace))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://gate.example.com", "http://127.0.0.1:8000"),
        ("https://gate.example.com", "http://[::1]:8000"),
        ("https://gate.example.com", "http://localhost"),
        ("path: /mcp", "path: /"),
        ("path: /mcp", "path: /oauthx"),
        (ALLOW, "    allow: anyone"),
        (ALLOW, "    allow: [{service: '*'}, {group: 'acme:team/a:b', email_domain: a.com}, {subject: 'acme:t:1'}]"),
        (SEND, "      authorization: signed_jwt"),
        (SEND, "      authorization: {provider_token: acme}"),
        (SEND, "      authorization: {static: 'Bearer x'}\n      headers: {X-User: sub, X-Mail: email}"),
        ("access_token: 1h", "access_token: 3600"),
        ("access_token: 1h", "access_token: '3600'"),
        ("lifetimes: {access_token: 1h}", ""),
        ("lifetimes: {access_token: 1h}", "trusted_proxies: [10.0.0.0/8, '::1']"),
        (REDIRECTS, "redirect_uris: ['cursor://x/cb', 'http://127.0.0.1/cb']"),
        (REDIRECTS, REDIRECTS + "\n    secret: x\n    consent: trusted"),
        (', secret: "${ACME_SECRET}"}', ", secret: '${ACME_SECRET}'}\n    title: null\n    scopes: [a]"),
    ],
)  # fmt: skip
def test_accepted(workspace, old, new):
    workspace.edit(old, new)
    load_config(workspace.path, workspace.env)


def test_development_provider_is_for_loopback_only(workspace):
    """It signs in whoever asks, so a reachable gateway with it is open to everybody."""
    workspace.edit("definition: ./acme.yaml", "definition: development\n    params: {base: 'http://127.0.0.1:1'}")
    [problem] = problems(workspace)
    assert (problem.path, problem.found) == ("providers.acme", "the definition development")
    workspace.edit("https://gate.example.com", "http://127.0.0.1:8000")
    load_config(workspace.path, workspace.env)


def test_attack_development_provider_behind_extends(workspace):
    """A definition of one's own that only extends it is the same thing."""
    workspace.write("acme.yaml", "extends: development\nparams: {base: {default: 'http://127.0.0.1:1'}}")
    assert [p.found for p in problems(workspace)] == ["the definition development"]
