"""Which part of a definition a request comes from. A conversation yields requests and no names, so each call of the
definition is given a header with its name, which is taken off again before anybody sees or sends the request.
"""

from collections.abc import Iterator
from typing import Protocol, TypeVar

from msgspec import structs

from vestibule.model import HttpCall
from vestibule.provider.definition import Call, Definition
from vestibule.provider.provider import Provider
from vestibule.provider.template import Template

_HEADER = "Vestibule-Call"

C = TypeVar("C", bound=Call)


class Change(Protocol):
    def __call__(self, label: str, call: C) -> C: ...


def changed(definition: Definition, change: Change) -> Definition:
    """Every call replaced. Labels: `par`, `token`, `exchange.<n>`, `refresh`, `revoke`, `identity.<n>`."""
    authorize, refresh, identity = definition.authorize, definition.refresh, definition.identity
    if authorize.par is not None:
        authorize = structs.replace(authorize, par=change("par", authorize.par))
    return structs.replace(
        definition,
        authorize=authorize,
        token=change("token", definition.token),
        exchange={name: change(f"exchange.{name}", call) for name, call in definition.exchange.items()},
        refresh=refresh if refresh == "none" else change("refresh", refresh),
        revoke=None if definition.revoke is None else change("revoke", definition.revoke),
        identity=structs.replace(
            identity, calls={name: change(f"identity.{name}", call) for name, call in identity.calls.items()}
        ),
    )


def labelled(provider: Provider) -> Provider:
    return structs.replace(provider, definition=changed(provider.definition, _with_label))


def unlabelled(call: HttpCall) -> tuple[str, HttpCall]:
    """Discovery and key sets come from no call of the definition; they are `metadata`."""
    label = next((value for name, value in call.headers if name == _HEADER), "metadata")
    return label, structs.replace(call, headers=tuple(pair for pair in call.headers if pair[0] != _HEADER))


def calls(definition: Definition) -> Iterator[tuple[str, Call]]:
    """In the order in which they are made."""
    if definition.authorize.par is not None:
        yield "par", definition.authorize.par
    yield "token", definition.token
    yield from ((f"exchange.{name}", call) for name, call in definition.exchange.items())
    yield from ((f"identity.{name}", call) for name, call in definition.identity.calls.items())
    if definition.refresh != "none":
        yield "refresh", definition.refresh
    if definition.revoke is not None:
        yield "revoke", definition.revoke


def _with_label(label: str, call: C) -> C:
    return structs.replace(call, headers={**call.headers, _HEADER: Template(label)})
