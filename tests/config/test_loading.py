"""The whole way: everything at once, nothing secret in any output, and no other exception than ConfigError."""

import json
import os
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from vestibule.cli.check import command as check
from vestibule.cli.reports import render_problems
from vestibule.config import Config
from vestibule.loading import ConfigError, load_config

MANY = """\
public_url: https://gate.example.com
public_url: https://other.example.com
storage: postgresql://db/x
secrets:
  signing: ["${UNSET_ONE}"]
  sealing: [short]
providers:
  acme: {definition: ./acme.yaml, client: {id: app, secrett: x}}
  nowhere: {client: {id: a, secret: b}}
routes:
  - id: issues
    path: /oauth
    backend: ftp://x
    providers: [acme, amce]
    send: {authorization: {provider_token: amce}, headers: {Host: sub}}
  - id: issues
    path: /b
    backend: http://b
    providers: [acme]
    allow: [{email: nobody}, {}]
lifetimes: {login: 1h}
clients: [{id: c, name: C, redirect_uris: ["data:x"], consent: trusted}]
"""


def problems(workspace):
    with pytest.raises(ConfigError) as caught:
        load_config(workspace.path, workspace.env)
    return caught.value.problems


def test_all_errors_are_told_at_once(workspace):
    """Shapes, references, consistency and definitions alike, from top to bottom."""
    workspace.write("vestibule.yaml", MANY)
    assert [(p.line, p.path) for p in problems(workspace)] == [
        (2, "public_url"),
        (3, "storage"),
        (5, "secrets.signing[0]"),
        (6, "secrets.sealing[0]"),
        (8, "providers.acme.client.secrett"),
        (9, "providers.nowhere"),
        (11, "routes[0].allow"),
        (12, "routes[0].path"),
        (13, "routes[0].backend"),
        (14, "routes[0].providers[1]"),
        (15, "routes[0].send.headers.Host"),
        (16, "routes[1].id"),
        (20, "routes[1].allow[0].email"),
        (20, "routes[1].allow[1]"),
        (21, "lifetimes.login"),
        (22, "clients[0].redirect_uris[0]"),
        (22, "clients[0].consent"),
        (22, "clients[0].consent"),
    ]


def test_errors_of_a_definition_point_into_its_file(workspace):
    workspace.edit("${p.base}/token", "${p.bsae}/token", "acme.yaml")
    workspace.edit("title: Acme", "titel: Acme", "acme.yaml")
    found = [(Path(p.file).name, p.line, p.path, p.found) for p in problems(workspace)]
    assert found == [
        ("acme.yaml", 1, "titel", "unknown key"),
        ("acme.yaml", 1, "", "`title` is missing"),
        ("acme.yaml", 5, "token.url", "unknown parameter `bsae`"),
    ]


def test_errors_of_an_extended_definition_point_into_the_file_that_says_it(workspace):
    workspace.edit("${p.base}/token", "${p.bsae}/token", "acme.yaml")
    workspace.write("child.yaml", "extends: ./acme.yaml\ntitle: Child\npkce: maybe\n")
    workspace.edit("./acme.yaml", "./child.yaml")
    found = [(Path(p.file).name, p.line, p.path) for p in problems(workspace)]
    assert found == [("acme.yaml", 5, "token.url"), ("child.yaml", 3, "pkce")]


def test_a_definition_used_twice_is_told_once(workspace):
    workspace.edit("title: Acme", "titel: Acme", "acme.yaml")
    workspace.edit("  acme:\n", "  acme2: {definition: ./acme.yaml, client: {id: a, secret: b}}\n  acme:\n")
    assert len([p for p in problems(workspace) if p.path == "titel"]) == 1


def test_definitions_never_see_the_environment(workspace):
    """`${SIGNING}` there is a template of the provider language, and an unknown name in it."""
    workspace.edit("${p.base}/token", "https://id.acme.com/${SIGNING}", "acme.yaml")
    [problem] = problems(workspace)
    assert (problem.path, problem.found.partition(";")[0]) == ("token.url", "unknown name `SIGNING`")


def test_files_are_relative_to_the_config(workspace, monkeypatch):
    directory = workspace.directory.resolve()
    (directory / "secret").write_text(workspace.env["SIGNING"] + "\n")
    workspace.edit("${SIGNING}", "${file:./secret}")
    monkeypatch.chdir("/")
    loaded = load_config(directory / "vestibule.yaml", workspace.env)
    assert loaded.config.secrets.signing[0].reveal() == workspace.env["SIGNING"]


# --- secrets ----------------------------------------------------------------------------------------------------------

CANARY = "kanarienvogel"
LEAKY = [
    ('["${SIGNING}"]', f"[{CANARY}]"),
    ('["${SIGNING}"]', f"{CANARY}"),
    ('["${SIGNING}"]', f"{{{CANARY}x: {CANARY}}}"),
    ('["${SIGNING}"]', f"[[{CANARY}]]"),
    ('["${SIGNING}"]', '["${CANARY}"]'),
    ('["${SIGNING}"]', f'["${{UNSET:-{CANARY}}}"]'),
    ('["${SIGNING}"]', '["${file:canary}"]'),
    ('["${SIGNING}"]', '["${CANARY} ${UNSET}"]'),
    ('["${SIGNING}"]', f"[a] # {CANARY}"),
    ("signing:", f"singing: [{CANARY}]\n  signing:"),
    ("public_url: https://gate.example.com", "public_url: ${CANARY}"),
    ("public_url: https://gate.example.com", "public_url: http://${CANARY}"),
    ("public_url: https://gate.example.com", f"public_url: https://u:{CANARY}@h"),
    ("path: /mcp", 'path: "${CANARY}"'),
    ("path: /mcp", 'path: "/oauth/${CANARY}"'),
    ("id: issues", 'id: "${CANARY} x"'),
    ("http://127.0.0.1:9000/mcp", f"http://u:{CANARY}@h/mcp"),
    ("http://127.0.0.1:9000/mcp", f"http://h/mcp?key={CANARY}"),
    ("http://127.0.0.1:9000/mcp", f"postgresql://u:{CANARY}@h/mcp"),
    ("providers: [acme]", 'providers: ["${CANARY}"]'),
    ("authorization: strip", f"authorization: Bearer {CANARY}"),
    ("authorization: strip", f"authorization: {{static: [{CANARY}]}}"),
    ("authorization: strip", f"authorization: {{statik: {CANARY}}}"),
    ("authorization: strip", f"authorization: {{static: {CANARY}, provider_token: b}}"),
    ("authorization: strip", f"authorization: {{static: {CANARY}, provider_token: '${{CANARY}}'}}"),
    ('secret: "${ACME_SECRET}"', f"secret: {{value: {CANARY}}}"),
    ('secret: "${ACME_SECRET}"', f"secrett: {CANARY}"),
    ('client: {id: app, secret: "${ACME_SECRET}"}', f"client: {CANARY}"),
    ('id: app, secret: "${ACME_SECRET}"', f"id: [1], secret: {CANARY}"),
    ('id: app, secret: "${ACME_SECRET}"', f"id: 7, secret: {CANARY}, secret: {CANARY}2"),
    ('id: app, secret: "${ACME_SECRET}"', f"id: 7, secret: !!str {CANARY}"),
    ('id: app, secret: "${ACME_SECRET}"', f"id: 7, secret: *{CANARY}"),
    ('id: app, secret: "${ACME_SECRET}"', f"id: 7, secret: '{CANARY}"),
    ("definition: ./acme.yaml", "definition: ${CANARY}"),
    ("definition: ./acme.yaml", 'definition: ./acme.yaml\n    params: {base: "${CANARY}"}'),
    ("definition: ./acme.yaml", f"definition: ./leaky.yaml\n    params: {{base: x}}\n    secret: {CANARY}"),
    ("name: Portal", f"secret: [{CANARY}]"),
    ("name: Portal", f"secret: {CANARY}\n    scret: {CANARY}"),
    ("https://portal.example.com/callback", "${CANARY}"),
    ("[{email_domain: acme.com}]", '[{email: "${CANARY}"}, {group: "${CANARY}:x"}, {subject: "${CANARY}"}]'),
    ("[{email_domain: acme.com}]", '"${CANARY}"'),
    ("lifetimes: {access_token: 1h}", 'lifetimes: {access_token: "${CANARY}"}'),
    ("lifetimes: {access_token: 1h}", 'trusted_proxies: ["${CANARY}"]'),
    ("lifetimes: {access_token: 1h}", 'key_prefix: "${CANARY}!"'),
]


def refusals(path):
    try:
        load_config(path, os.environ)
    except ConfigError as error:
        return [error]
    return []


@pytest.mark.parametrize(("old", "new"), LEAKY)
def test_attack_secret_read_out_of_an_error(workspace, monkeypatch, old, new):
    """CI logs are public more often than anybody thinks: no secret, no interpolated value, in any form of output."""
    workspace.write("canary", CANARY)
    workspace.edit(old, new)
    workspace.env["CANARY"] = CANARY
    for name, value in workspace.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UNSET", raising=False)
    outputs = [CliRunner().invoke(check, ["--config", "vestibule.yaml", "--format", f]) for f in ("text", "json")]
    told = [repr(error) + repr(error.problems) for error in refusals(workspace.path)]
    assert [output.exit_code for output in outputs] == [len(told)] * 2
    assert CANARY not in "".join(told)
    assert CANARY not in outputs[0].output + outputs[1].output


def test_attack_secret_inside_a_rendered_url(workspace):
    """A definition may put the client secret into a URL that is then refused."""
    workspace.edit("${p.base}/token", "http://${client.secret}.example.com/${client.secret|urlencode}", "acme.yaml")
    workspace.env["ACME_SECRET"] = f"{CANARY}/+{CANARY}"
    told = problems(workspace)
    assert told
    assert CANARY not in repr(told)


def test_secrets_of_a_good_config_are_not_printed(workspace, monkeypatch):
    workspace.edit("authorization: strip", f"authorization: {{static: Bearer {CANARY}}}")
    workspace.edit("name: Portal", f"name: Portal\n    secret: {CANARY}")
    for name, value in workspace.env.items():
        monkeypatch.setenv(name, value)
    for form in ("text", "json"):
        result = CliRunner().invoke(check, ["--config", "vestibule.yaml", "--format", form])
        assert result.exit_code == 0
        assert not any(secret in result.output for secret in (CANARY, *workspace.env.values()))


# --- rendering --------------------------------------------------------------------------------------------------------


def test_problems_are_rendered_like_compiler_output(workspace):
    workspace.edit("path: /mcp", "path: mcp   # see [link]")
    workspace.edit("lifetimes:", "lifetime:")
    console = Console(width=200, color_system=None, record=True, file=StringIO())
    console.print(render_problems(problems(workspace)))
    assert [line.rstrip() for line in console.export_text().splitlines()] == [
        "vestibule.yaml:11  routes[0].path",
        "  11 │     path: mcp",
        "     │           ^^^",
        '  found     "mcp"',
        "  expected  a path such as /mcp",
        "",
        "vestibule.yaml:23  lifetime",
        "  23 │ lifetime: {***: ***}",
        "     │ ^^^^^^^^",
        '  found     the unknown key "lifetime"',
        "  expected  one of " + ", ".join(Config.__struct_fields__),
        "  hint      did you mean lifetimes?",
        "",
        "2 problems found",
    ]


def test_attack_console_markup_in_a_config(workspace):
    """Text from the file is text: no links, no colours, no terminal escapes."""
    workspace.edit("path: /mcp", 'path: "[link=http://x]a[/link]\\e[31m"')
    console = Console(width=200, record=True, file=StringIO())
    console.print(render_problems(problems(workspace)))
    text = console.export_text()
    assert "[link=http://x]a[/link]" in text
    assert "\x1b" not in text


def test_json_problems_are_for_machines(workspace):
    workspace.edit("path: /mcp", "path: mcp")
    result = CliRunner().invoke(check, ["--config", "vestibule.yaml", "--format", "json"], env=workspace.env)
    told = json.loads(result.output)
    assert told["ok"] is False
    assert told["problems"][0] == {
        "file": "vestibule.yaml",
        "line": 11,
        "path": "routes[0].path",
        "found": '"mcp"',
        "expected": "a path such as /mcp",
        "hint": "",
    }


# --- anything else ----------------------------------------------------------------------------------------------------

_WORDS = st.sampled_from(
    [
        *Config.__struct_fields__,
        *("signing", "acme", "client", "id", "path", "backend", "allow", "anyone", "send", "match", "authorization"),
        *("static", "headers", "permissions", "title", "scopes", "definition", "redirect_uris", "consent", "trusted"),
        *("https://a.b", "http://[::1", "http://a:99999", "/mcp", "${X}", "${file:.}", "1h", "", "a:b", "\0", "é"),
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=6),
    max_leaves=40,
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


def load_any(directory, text):
    path = directory / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_config(path, {"X": "http://x"})
    except ConfigError as error:
        Console(file=StringIO()).print(render_problems(error.problems))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(value=_VALUES)
def test_any_config_loads_or_is_a_config_error(directory, value):
    """JSON is YAML; so any structure at all, with the right words in the wrong places."""
    load_any(directory, json.dumps(value))


@settings(deadline=None, max_examples=150)
@given(text=st.text(max_size=200))
def test_any_text_loads_or_is_a_config_error(directory, text):
    load_any(directory, text)
