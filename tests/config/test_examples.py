"""The examples are what newcomers copy, so they have to be right: for editors, for `check`, and for the gateway."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from vestibule import catalog
from vestibule.cli.schema import FILE, PROVIDER_FILE, config_schema, provider_schema, schema_text
from vestibule.config import Config
from vestibule.conversion import convert
from vestibule.loading import load_config
from vestibule.reading import parse, read

CONFIG = Path(catalog.__file__).parents[2] / "config"
EXAMPLES = sorted(CONFIG.glob("*.yaml"))
SECRET = "Zk3vT0xq8Yw1nB5uJ7sD2fG4hK6lM9pQrStUvWxYz0A"
VARIABLES = (
    *("VESTIBULE_SIGNING_KEY", "VESTIBULE_SEALING_KEY", "GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"),
    *("SENTRY_CLIENT_ID", "SENTRY_CLIENT_SECRET"),
)

VALIDATOR = jsonschema.Draft202012Validator(config_schema())


def test_the_schema_file_is_current():
    """`vestibule schema --write config` makes it."""
    assert (CONFIG / FILE).read_text(encoding="utf-8") == schema_text()


def test_the_schema_of_definitions_is_current():
    """The same command makes it."""
    assert (CONFIG / PROVIDER_FILE).read_text(encoding="utf-8") == schema_text(provider_schema())


DEFINITIONS = jsonschema.Draft202012Validator(provider_schema())


@pytest.mark.parametrize("path", sorted(catalog.directory().glob("*.yaml")), ids=lambda path: path.stem)
def test_definitions_validate(path):
    """Each names the schema, so that an editor completes it, and is in order by it."""
    document = read(path)
    assert document.lines[0] == f"# yaml-language-server: $schema=../config/{PROVIDER_FILE}"
    DEFINITIONS.validate(document.value)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("{}", True),
        ("token: {url: null, form: {code: null, n: 5}, json: {a: {b: [x]}}, out: data}", True),
        ("refresh: none", True),
        ("params: {a: {from: cb.x, pattern: y}}", True),
        ("identity: {calls: {me: {url: x, paginate: link, optional: true}}, map: {sub: me.id}}", True),
        ("oidc: {issuer: x, nonce: off}", True),
        ("titel: x", False),
        ("token: {urll: x}", False),
        ("token: {method: FETCH}", False),
        ("pkce: S384", False),
        ("client: {auth: bearer}", False),
        ("identity: {map: {phone: x}}", False),
        ("params: {a: {source: cb.x}}", False),
        ("refresh: never", False),
    ],
)
def test_the_schema_of_definitions_knows_the_language(text, valid):
    """An overlay: nothing is required, anything may be null, and what is not of the language is marked."""
    assert DEFINITIONS.is_valid(parse(text, "x.yaml").value) is valid


def test_the_schema_of_definitions_explains_the_keys():
    """Inherited keys too, and under their names in the file."""
    definitions = provider_schema()["$defs"]
    assert "JMESPath" in definitions["Param"]["properties"]["from"]["description"]
    assert "predicate" in definitions["IdentityCall"]["properties"]["ok"]["description"]
    assert "RFC 6749" in definitions["Definition"]["properties"]["token"]["description"]


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text()))


def test_the_schema_explains_the_fields():
    """The text below a field in `config` is what an editor shows."""
    definitions = config_schema()["$defs"]
    assert "issuer" in definitions["Config"]["properties"]["public_url"]["description"]
    assert "rotation" in definitions["Lifetimes"]["properties"]["refresh_token"]["description"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_load(path):
    load_config(path, dict.fromkeys(VARIABLES, SECRET))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_validate(path):
    text = path.read_text(encoding="utf-8")
    VALIDATOR.validate(yaml.safe_load(text))
    assert text.startswith(f"# yaml-language-server: $schema=./{FILE}\n")


BASE = {"public_url": "https://a.b", "secrets": {"signing": ["x"], "sealing": ["x"]}}
ROUTE = {"id": "r", "path": "/r", "backend": "http://b", "providers": ["p"]}


@pytest.mark.parametrize(
    ("change", "route", "valid"),
    [
        ({}, {}, True),
        ({"public_url": "${URL}"}, {}, True),
        ({"public_url": "gate"}, {}, False),
        ({"lifetimes": {"login": "5m"}}, {}, True),
        ({"lifetimes": {"login": 300}}, {}, True),
        ({"lifetimes": {"login": "5 minutes"}}, {}, False),
        ({"lifetimes": {"login": 601}}, {}, False),
        ({"lifetime": {}}, {}, False),
        ({}, {"allow": "anyone"}, True),
        ({}, {"allow": [{"email": "a@b.c"}]}, True),
        ({}, {"allow": "everyone"}, False),
        ({}, {"send": {"authorization": {"static": "Bearer x"}}}, True),
        ({}, {"send": {"authorization": "none"}}, False),
        ({}, {"send": {"headers": {"X-A": "nobody"}}}, False),
        ({}, {"max_body_bytes": "1"}, False),
        ({}, {"permissions": {"Read": {"title": "R"}}}, False),
        ({"secrets": {"signing": [], "sealing": ["x"]}}, {}, False),
        ({"clients": [{"id": "c", "name": "C", "redirect_uris": []}]}, {}, False),
    ],
)
def test_editors_and_the_gateway_agree(change, route, valid):
    """The same shapes in the schema and in `convert`; what goes beyond shapes is left to `check`."""
    config = BASE | {"routes": [ROUTE | route]} | change
    converted = convert(parse(json.dumps(config).replace("${URL}", "https://x"), "f.yaml"), Config)
    assert (VALIDATOR.is_valid(config), not converted.problems) == (valid, valid)
