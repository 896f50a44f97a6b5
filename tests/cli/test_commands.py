"""What `check`, `secrets`, `providers` and `schema` print, and with which exit code they end."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from vestibule import catalog
from vestibule.cli import main
from vestibule.cli.schema import FILE, PROVIDER_FILE
from vestibule.cli.secrets import SECRET_BYTES
from vestibule.config import Secrets
from vestibule.documents import describe
from vestibule.reading import parse

EXAMPLES = Path(catalog.__file__).parents[2] / "config"
ENV = dict.fromkeys(("VESTIBULE_SIGNING_KEY", "VESTIBULE_SEALING_KEY"), "Zk3vT0xq8Yw1nB5uJ7sD2fG4hK6lM9pQrStUvWxYz0A")
ENV |= {"GITHUB_CLIENT_ID": "github-id", "GITHUB_CLIENT_SECRET": "github-secret"}


def vestibule(*args, **env):
    return CliRunner().invoke(main, [*map(str, args)], env={**ENV, **env})


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_tells_what_a_config_does():
    result = vestibule("check", "--config", EXAMPLES / "github-mcp.yaml")
    assert result.exit_code == 0
    for text in (
        "https://gate.example.com/mcp",
        "http://127.0.0.1:9000/mcp",
        "email domain acme.com",
        "group github:acme/platform",
        "read: Read issues (default)",
        "write: Change issues",
        "Authorization: the user's own token at github",
        "X-User-Email: email",
        "https://gate.example.com/oauth/callback/github",
        "https://dashboard.acme.com/oauth/callback",
    ):
        assert text in result.output


def test_check_in_json_says_the_same():
    result = vestibule("check", "--config", EXAMPLES / "github-mcp.yaml", "--format", "json")
    told = json.loads(result.output)
    assert told["ok"] is True
    assert told["warnings"] == []
    assert told["routes"] == [
        {
            "id": "issues",
            "url": "https://gate.example.com/mcp",
            "backend": "http://127.0.0.1:9000/mcp",
            "providers": ["github"],
            "allow": ["email domain acme.com", "group github:acme/platform"],
            "permissions": [
                {"id": "read", "title": "Read issues", "default": True},
                {"id": "write", "title": "Change issues", "default": False},
            ],
            "sent": {"Authorization": "the user's own token at github", "X-User-Email": "email"},
        }
    ]
    assert told["providers"] == [
        {
            "id": "github",
            "title": "GitHub",
            "redirect_uri": "https://gate.example.com/oauth/callback/github",
            "client_id": "github-id",
        }
    ]
    assert told["clients"][0]["kind"] == "public"


def test_check_ends_with_1_for_a_broken_config(tmp_path):
    result = vestibule("check", "--config", tmp_path / "absent.yaml")
    assert result.exit_code == 1
    assert "no such file" in result.output


def test_check_warns_of_a_provider_with_neither_pkce_nor_nonce(tmp_path):
    """RFC 9700 §2.1.1: without either, a stolen code can be injected into another login."""
    text = (EXAMPLES / "minimal.yaml").read_text().replace("  github:\n", "  github:\n    definition: ./weak.yaml\n")
    (tmp_path / "weak.yaml").write_text("extends: github\npkce: 'off'\n")
    (tmp_path / "vestibule.yaml").write_text(text)
    result = vestibule("check", VESTIBULE_CONFIG=str(tmp_path / "vestibule.yaml"))
    assert result.exit_code == 0
    assert "warning: provider github: neither PKCE nor a nonce" in result.output


def test_the_config_is_found_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "vestibule.yaml: " not in vestibule("check").output
    Path("vestibule.yaml").write_text((EXAMPLES / "minimal.yaml").read_text())
    assert "vestibule.yaml is fine" in vestibule("check").output


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_are_ready_to_paste_into_the_environment(tmp_path):
    lines = vestibule("secrets").output.splitlines()
    made = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert set(made) == {"VESTIBULE_SIGNING_KEY", "VESTIBULE_SEALING_KEY"}
    assert len(set(made.values())) == 2
    assert all(len(secret) == 43 for secret in made.values())
    assert vestibule("check", "--config", EXAMPLES / "minimal.yaml", **made).exit_code == 0


def test_secrets_are_ready_to_paste_into_the_config():
    output = vestibule("secrets", "--format", "yaml").output
    secrets = parse(output, "f.yaml").value["secrets"]
    assert list(secrets) == list(Secrets.__struct_fields__)
    assert all(describe(value[0]).startswith('"') for value in secrets.values())
    assert SECRET_BYTES == 32


def test_secrets_are_made_anew_each_time():
    """Design decision 20: no default secrets."""
    assert vestibule("secrets").output != vestibule("secrets").output


# --- providers --------------------------------------------------------------------------------------------------------


def test_providers_list_says_what_is_needed():
    output = vestibule("providers", "list").output
    assert all(name in output for name in catalog.names())
    assert "params.issuer" in output


@pytest.mark.parametrize("name", catalog.names())
def test_providers_show_writes_the_effective_definition_as_yaml(name):
    shown = yaml.safe_load(vestibule("providers", "show", name).output)
    assert shown["title"] == catalog.load(name, Path()).raw["title"]
    assert shown["authorize"]["query"]["response_type"] == "code"
    assert "extends" not in shown


def test_providers_show_refuses_unknown_names():
    result = vestibule("providers", "show", "nowhere")
    assert result.exit_code == 1
    assert "providers list" in result.output


def test_providers_show_tells_errors(tmp_path):
    (tmp_path / "bad.yaml").write_text("extends: nowhere")
    result = vestibule("providers", "show", tmp_path / "bad.yaml")
    assert result.exit_code == 1
    assert 'found     "nowhere"' in result.output


# --- schema -----------------------------------------------------------------------------------------------------------


def test_schema_is_printed_or_written(tmp_path):
    printed = vestibule("schema").output
    jsonschema.Draft202012Validator.check_schema(json.loads(printed))
    assert vestibule("schema", "--write", tmp_path).exit_code == 0
    assert (tmp_path / FILE).read_text(encoding="utf-8") == printed
    written = json.loads((tmp_path / PROVIDER_FILE).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(written)
