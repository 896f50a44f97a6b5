"""A Secret gets out by `reveal()` and by nothing else (`model.Secret`)."""

import copy
import json
import pickle

import msgspec
import pytest
import structlog

from vestibule.model import HttpCall, HttpReply, Secret, Tokens

TEXT = "hunter2-hunter2-hunter2"
SECRET = Secret(TEXT)


class Holder(msgspec.Struct, frozen=True):
    secret: Secret


HOLDERS = [SECRET, [SECRET], {"a": SECRET}, Holder(SECRET), Tokens(access_token=SECRET, raw={"access_token": TEXT})]


def test_reveal_is_the_way_out():
    """The one place to look for when auditing where secrets go."""
    assert SECRET.reveal() == TEXT


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
@pytest.mark.parametrize("show", [str, repr, "{}".format, "{!r:>40}".format, lambda it: "%s" % it, ascii])  # noqa: UP031
def test_attack_secret_in_a_message(show, holder):
    """An exception text, an f-string or a debugger's print shows that there is a secret, not which."""
    holder = (holder,) if isinstance(holder, tuple) else holder
    assert TEXT not in show(holder)


@pytest.mark.parametrize("renderer", [structlog.processors.JSONRenderer(), structlog.processors.KeyValueRenderer()])
@pytest.mark.parametrize("holder", [SECRET, [SECRET], {"a": SECRET}, Holder(SECRET)], ids=lambda it: type(it).__name__)
def test_attack_secret_in_a_log_line(renderer, holder):
    """Both renderers that `logs` may use, with the secret as a value of an event."""
    assert TEXT not in str(renderer(None, "info", {"event": "e", "value": holder}))


@pytest.mark.parametrize("encode", [msgspec.json.encode, msgspec.msgpack.encode, msgspec.to_builtins, json.dumps])
@pytest.mark.parametrize("holder", [SECRET, [SECRET], {"a": SECRET}, Holder(SECRET)], ids=lambda it: type(it).__name__)
def test_attack_secret_in_a_document(encode, holder):
    """There is no encoder for it: a Struct that holds one is never a response body by accident."""
    with pytest.raises(TypeError):
        encode(holder)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_attack_secret_in_a_pickle(protocol):
    """A cache or a process pool that pickles its arguments would write it somewhere."""
    with pytest.raises(TypeError):
        pickle.dumps([SECRET], protocol)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_secret_is_not_copied(copied):
    """The same protocol serves both; a copy is a second place to forget about."""
    with pytest.raises(TypeError):
        copied(SECRET)


def test_secret_has_no_dictionary_and_no_hash():
    """`vars()` would show it, and as a dictionary key it would be compared in variable time."""
    with pytest.raises(TypeError):
        vars(SECRET)
    with pytest.raises(TypeError):
        hash(SECRET)


def test_secrets_compare_by_value():
    """In constant time; never equal to plain text, so that no text is taken for a checked secret."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert not Secret("")
    assert Secret("a")


def test_calls_and_replies_show_no_query_and_no_body():
    """Codes, tokens and client secrets travel there."""
    call = HttpCall(
        method="POST", url=f"https://idp.example/t?code={TEXT}", headers=(("authorization", TEXT),), body=TEXT.encode()
    )
    reply = HttpReply(status=200, headers={"x-token": TEXT}, body=TEXT.encode())
    assert repr(call) == "HttpCall(POST https://idp.example/t)"
    assert TEXT not in repr(reply)
