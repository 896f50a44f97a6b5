"""A config file to a `Config` and compiled providers, or everything that is wrong with it.

The order is: YAML, interpolation, shapes, consistency, provider definitions. Only YAML that cannot be parsed ends it
early; each later step works on what the earlier ones could read, so that one run reports all there is to repair.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from vestibule import catalog
from vestibule.config import Config, ProviderConfig
from vestibule.consistency import check, is_loopback
from vestibule.conversion import Converted, convert
from vestibule.crypto.jose import Signer
from vestibule.crypto.random import ROW_ID_CHARACTERS
from vestibule.documents import MASK, ConfigError, Document, Place, Problem
from vestibule.interpolation import interpolate
from vestibule.model import Secret
from vestibule.provider.checking import Problem as DefinitionProblem
from vestibule.provider.provider import DefinitionError, Provider, compile_provider
from vestibule.reading import read

__all__ = ["ConfigError", "Loaded", "load_config"]

DEVELOPMENT = "development"
"""The catalog's definition for `vestibule dev`: it signs in whoever asks."""


_MIN_PRIVATE = 4
"""A shorter text is part of too many words to be hidden in them."""
_KIND = re.compile(r"Expected `(?P<expected>[^`]+)`, got `(?P<found>[^`]+)`")


def _state_like(provider_id: str) -> str:
    """As long as those of `service.authorizations`, and of the same characters."""
    claims = {"l": "x" * ROW_ID_CHARACTERS, "p": provider_id}
    return Signer((Secret("sample"),), "state").sign(claims, expires_at=1 << 31)


class Loaded(Struct, frozen=True):
    config: Config
    providers: dict[str, Provider]


def load_config(path: Path, env: Mapping[str, str]) -> Loaded:
    """Raises ConfigError with all problems of the config and of the definitions that it uses."""
    document = interpolate(read(path), env, path.parent)
    converted = convert(document, Config)
    problems = [*document.problems, *converted.problems, *check(document, converted)]
    providers = _Providers(document, converted, path.parent)
    compiled = providers.compile()
    problems += providers.problems
    if problems or converted.value is None:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Loaded(converted.value, compiled)


class _Providers:
    def __init__(self, document: Document, converted: Converted[Config], directory: Path) -> None:
        self.document, self.converted, self.directory = document, converted, directory
        self.problems: list[Problem] = []

    def compile(self) -> dict[str, Provider]:
        configs = {
            str(place[1]): config
            for place, config in self.converted.parts.items()
            if place[:1] == ("providers",) and isinstance(config, ProviderConfig)
        }
        compiled = {name: self._provider(name, config) for name, config in configs.items()}
        return {name: provider for name, provider in compiled.items() if provider is not None}

    def _provider(self, name: str, config: ProviderConfig) -> Provider | None:
        definition = self._definition(name, config)
        if definition is None:
            return None
        found = self.converted.parts.get(("public_url",))
        url = found if isinstance(found, str) else None
        if DEVELOPMENT in definition.names and url is not None and not is_loopback(url):
            expected = "a real provider: this one signs in whoever asks, so it is for loopback addresses only"
            self._report(("providers", name), expected, found=f"the definition {DEVELOPMENT}")
        if (client := config.client) is None:
            expected = "a section with id and secret: how this gateway is registered at the provider"
            self._report(("providers", name, "client"), expected, found="nothing")
            return None
        try:
            return compile_provider(
                name,
                definition.raw,
                client_id=client.id,
                client_secret=client.secret,
                client_key=client.key,
                params=config.params,
                extra_scopes=config.scopes,
                redirect_uri=None if url is None else f"{url}/oauth/callback/{name}",
                state=_state_like(name),
            )
        except DefinitionError as error:
            for problem in error.problems:
                self._tell(name, config, definition, problem)
        return None

    def _tell(
        self, name: str, config: ProviderConfig, definition: catalog.DefinitionFiles, problem: DefinitionProblem
    ) -> None:
        """The message may quote a rendered URL, and that may hold what the config interpolated, or the secret."""
        message = problem.message
        for text in self._private_texts(name, config):
            message = message.replace(text, MASK)
        if got := _KIND.fullmatch(message):
            found, expected = got["found"], got["expected"]
        else:
            found, _, expected = message.partition("; ")
            expected = expected.removeprefix("expected ")
        if problem.source == "definition":
            private = found == "unknown key"
            self.problems.append(definition.problem(problem.path, found=found, expected=expected, private=private))
        elif expected:
            self._report(("providers", name, *problem.path), expected, found=found)
        else:
            self._report(("providers", name, *problem.path), found)

    def _private_texts(self, name: str, config: ProviderConfig) -> list[str]:
        place: Place = ("providers", name)
        texts = [
            str(config.params[key]) for key in config.params if (*place, "params", key) in self.document.references
        ]
        if config.client:
            texts += [secret.reveal() for secret in (config.client.secret, config.client.key) if secret]
            texts += [config.client.id] if (*place, "client", "id") in self.document.references else []
        forms = [form for text in texts if len(text) >= _MIN_PRIVATE for form in (text, quote(text, safe=""))]
        return sorted(forms, key=len, reverse=True)

    def _definition(self, name: str, config: ProviderConfig) -> catalog.DefinitionFiles | None:
        source = name if config.definition is None else config.definition
        try:
            return catalog.load(source, self.directory)
        except FileNotFoundError:
            known = catalog.names()
            close = difflib.get_close_matches(source, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            hint += "`vestibule providers list` shows the catalog; `definition: ./file.yaml` names a file of your own"
            place = ("providers", name, "definition") if config.definition is not None else ("providers", name)
            self._report(place, "a definition of the catalog, or a path to a file", hint=hint)
        except ConfigError as error:
            self.problems += error.problems
        return None

    def _report(self, place: Place, expected: str, *, found: str | None = None, hint: str = "") -> None:
        public = self.converted.public
        problem = self.document.problem(
            place, expected=expected, found=found, hint=hint, private=place not in public, public=public
        )
        self.problems.append(problem)
