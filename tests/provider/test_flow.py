"""The state table."""

from typing import get_args

import pytest

from vestibule.model import Identity, Tokens
from vestibule.provider.flow import (
    TRANSITIONS,
    CodeReturned,
    Denied,
    Event,
    Fail,
    Identified,
    IllegalTransition,
    ProviderFailed,
    Step,
    TokensReceived,
    settled,
    step_after,
)
from vestibule.provider.template import Unrenderable

EVENTS = {
    CodeReturned: CodeReturned("c"),
    Denied: Denied("access_denied"),
    TokensReceived: TokensReceived(Tokens(access_token=None)),
    Identified: Identified(Identity(provider="p", subject="s")),
    ProviderFailed: ProviderFailed("refused", "slug"),
}
ALLOWED = {
    (Step.AT_PROVIDER, CodeReturned): Step.REDEEMING,
    (Step.AT_PROVIDER, Denied): Step.FAILED,
    (Step.AT_PROVIDER, ProviderFailed): Step.FAILED,
    (Step.REDEEMING, TokensReceived): Step.IDENTIFYING,
    (Step.REDEEMING, ProviderFailed): Step.FAILED,
    (Step.IDENTIFYING, Identified): Step.DONE,
    (Step.IDENTIFYING, ProviderFailed): Step.FAILED,
}


def test_every_step_has_a_row_and_every_event_a_sample():
    """A step without a row would refuse by accident."""
    assert set(TRANSITIONS) == set(Step)
    assert set(EVENTS) == set(get_args(Event))


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_what_is_not_listed_is_refused(step, kind):
    """Every pair of step and event is either in this list or an IllegalTransition."""
    if (step, kind) in ALLOWED:
        assert step_after(step, EVENTS[kind]) is ALLOWED[step, kind]
    else:
        with pytest.raises(IllegalTransition):
            step_after(step, EVENTS[kind])


@pytest.mark.parametrize("step", [Step.DONE, Step.FAILED])
def test_attack_second_callback(step):
    """A login that has ended moves nowhere: a second callback is a replay."""
    assert TRANSITIONS[step] == {}


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (Fail("unavailable", "slug", "detail"), ProviderFailed("unavailable", "slug", "detail")),
        (Unrenderable("why"), ProviderFailed("misconfigured", "template_unrenderable", "why")),
    ],
    ids=["fail", "unrenderable"],
)
def test_conversation_ends_in_an_event(error, event):
    """What fails inside a conversation is its result."""

    @settled
    def conversation():
        yield from ()
        raise error

    with pytest.raises(StopIteration) as end:
        next(conversation())
    assert end.value.value == event


def test_code_is_not_shown():
    """A code in a log line is a code for whoever reads logs."""
    assert "secret" not in repr(CodeReturned("secret"))
