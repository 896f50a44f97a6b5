"""A login at a provider as a table. Theory of operation: the browser goes away (AT_PROVIDER), comes back with a code
(REDEEMING), the code becomes tokens (IDENTIFYING), the tokens become a person (DONE). Every event that is not listed
for a step is refused, so that a second callback, whatever it carries, is a replay and never a second login.

Chosen against flags on the login row and against a state-machine library: a dictionary is read at a glance, drawn by a
loop and tested by enumeration.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from typing import Literal, ParamSpec, TypeVar

from msgspec import Struct

from vestibule.model import Conversation, Identity, Tokens
from vestibule.provider.template import Unrenderable


class Step(StrEnum):
    AT_PROVIDER = "at_provider"
    REDEEMING = "redeeming"
    IDENTIFYING = "identifying"
    DONE = "done"
    FAILED = "failed"


class CodeReturned(Struct, frozen=True):
    """RFC 6749 §4.1.2: the browser came back with a code, and with all that the definition may capture."""

    code: str
    callback: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return "CodeReturned(***)"


class Denied(Struct, frozen=True):
    """RFC 6749 §4.1.2.1: the user or the provider said no. Both texts are cleaned and may be shown."""

    error: str
    description: str = ""


class TokensReceived(Struct, frozen=True):
    """RFC 6749 §5.1."""

    tokens: Tokens


class Identified(Struct, frozen=True):
    identity: Identity


Kind = Literal["refused", "unavailable", "misconfigured"]
"""refused: the provider said no, and will again. unavailable: ask later, change nothing. misconfigured: its answer does
not fit its definition here, an operator has to look."""


class ProviderFailed(Struct, frozen=True):
    """`slug` is stable; `detail` goes to the log only and holds no secret."""

    kind: Kind
    slug: str
    detail: str = ""
    tokens: Tokens | None = None
    """Of a refresh that failed after the old refresh token was spent: what has to be stored all the same. Those before
    with the new refresh token, which is never None here.
    """

    def __repr__(self) -> str:
        return f"ProviderFailed({self.kind!r}, {self.slug!r}, {self.detail!r})"


Event = CodeReturned | Denied | TokensReceived | Identified | ProviderFailed

TRANSITIONS: dict[Step, dict[type[Event], Step]] = {
    Step.AT_PROVIDER: {CodeReturned: Step.REDEEMING, Denied: Step.FAILED, ProviderFailed: Step.FAILED},
    Step.REDEEMING: {TokensReceived: Step.IDENTIFYING, ProviderFailed: Step.FAILED},
    Step.IDENTIFYING: {Identified: Step.DONE, ProviderFailed: Step.FAILED},
    Step.DONE: {},
    Step.FAILED: {},
}


class IllegalTransition(Exception):
    """An event that its step does not list: a replay or a defect, never a reason to go on."""


def step_after(step: Step, event: Event) -> Step:
    try:
        return TRANSITIONS[step][type(event)]
    except KeyError:
        raise IllegalTransition(f"{type(event).__name__} at step {step}") from None


# --- how a conversation ends ------------------------------------------------------------------------------------------


class Fail(Exception):
    """Raised anywhere inside a conversation; its boundary (`settled`) turns it into the event."""

    def __init__(self, kind: Kind, slug: str, detail: str = "") -> None:
        super().__init__(slug)
        self.event = ProviderFailed(kind, slug, detail)


P = ParamSpec("P")
T = TypeVar("T")


def settled(conversation: Callable[P, Conversation[T]]) -> Callable[P, Conversation[T | ProviderFailed]]:
    """The boundary of a conversation: what fails inside becomes its result, so that no caller has to catch."""

    @wraps(conversation)
    def bounded(*args: P.args, **kwargs: P.kwargs) -> Conversation[T | ProviderFailed]:
        try:
            return (yield from conversation(*args, **kwargs))
        except Fail as failed:
            return failed.event
        except Unrenderable as error:
            return ProviderFailed("misconfigured", "template_unrenderable", str(error))

    return bounded
