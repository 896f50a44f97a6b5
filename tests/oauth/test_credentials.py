"""Client authentication (RFC 6749 §2.3)."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from vestibule.crypto.digests import sha256
from vestibule.errors import InvalidClient, InvalidRequest
from vestibule.model import ClientRecord, ClientSource, Secret
from vestibule.oauth.credentials import Credentials, authenticate, read_credentials
from vestibule.oauth.params import Params

PUBLIC = ClientRecord(id="c1", source=ClientSource.DCR, name="App", redirect_uris=())
CONFIDENTIAL = structs.replace(PUBLIC, auth_method="client_secret_basic", secret_digest=sha256("s3cret"))


def basic(text, scheme="Basic"):
    return f"{scheme} {base64.b64encode(text.encode() if isinstance(text, str) else text).decode()}"


@pytest.mark.parametrize(
    ("authorization", "params", "client_id", "secret", "method"),
    [
        (None, {"client_id": "c1"}, "c1", None, "none"),
        (None, {"client_id": "c1", "client_secret": "s"}, "c1", "s", "client_secret_post"),
        (None, {"client_id": "https://claude.ai/x"}, "https://claude.ai/x", None, "none"),
        (basic("c1:s"), {}, "c1", "s", "client_secret_basic"),
        (basic("c1:s", "bAsIc"), {}, "c1", "s", "client_secret_basic"),
        (basic("c1:s:t"), {}, "c1", "s:t", "client_secret_basic"),
        (basic("c%3A1:s%2B%26"), {}, "c:1", "s+&", "client_secret_basic"),
        (basic("c1:abc_DEF-123"), {}, "c1", "abc_DEF-123", "client_secret_basic"),
        (basic("c1:s"), {"client_id": "c1"}, "c1", "s", "client_secret_basic"),
        (basic("c1:"), {}, "c1", None, "none"),
    ],
)
def test_credentials_are_read(authorization, params, client_id, secret, method):
    """RFC 6749 §2.3.1: form-encoded in Basic, raw values decode to themselves; Basic and an equal client_id is fine."""
    credentials = read_credentials(authorization, Params(params))
    assert credentials == Credentials(client_id=client_id, secret=Secret(secret) if secret else None, method=method)


@pytest.mark.parametrize(
    ("authorization", "params", "error", "slug"),
    [
        (None, {}, InvalidClient, "client_id_missing"),
        (None, {"client_secret": "s"}, InvalidClient, "client_id_missing"),
        (None, {"client_id": "é"}, InvalidClient, "client_credentials_malformed"),
        (None, {"client_id": "x" * 513}, InvalidClient, "client_credentials_malformed"),
        (None, {"client_id": "c", "client_secret": "x" * 1025}, InvalidClient, "client_credentials_malformed"),
        (None, {"client_id": "c", "client_assertion": "a"}, InvalidClient, "client_assertion_unsupported"),
        (None, {"client_id": "c", "client_assertion_type": "a"}, InvalidClient, "client_assertion_unsupported"),
        ("Bearer abc", {"client_id": "c"}, InvalidClient, "authorization_scheme"),
        ("", {"client_id": "c"}, InvalidClient, "authorization_scheme"),
        ("Basic", {"client_id": "c"}, InvalidClient, "authorization_malformed"),
        ("Basic !!!", {}, InvalidClient, "authorization_malformed"),
        ("Basic é", {}, InvalidClient, "authorization_malformed"),
        (basic("no colon"), {}, InvalidClient, "authorization_malformed"),
        (basic(b"\xff:s"), {}, InvalidClient, "authorization_malformed"),
        (basic("%FF:s"), {}, InvalidClient, "authorization_malformed"),
        (basic(":s"), {}, InvalidClient, "client_credentials_malformed"),
        (basic("c\n1:s"), {}, InvalidClient, "client_credentials_malformed"),
        (basic("c1:s"), {"client_id": "c2"}, InvalidRequest, "client_id_differs"),
        (basic("c1:s"), {"client_secret": "s"}, InvalidRequest, "client_authentication_twice"),
        (basic("c1:"), {"client_secret": "s"}, InvalidRequest, "client_authentication_twice"),
    ],
)
def test_credentials_are_refused(authorization, params, error, slug):
    """RFC 6749 §2.3: one mechanism a request; §5.2: the code for each."""
    with pytest.raises(error) as refused:
        read_credentials(authorization, Params(params))
    assert refused.value.slug == slug


@pytest.mark.parametrize(
    ("client", "client_id", "secret", "slug"),
    [
        (PUBLIC, "c1", None, None),
        (CONFIDENTIAL, "c1", "s3cret", None),
        (structs.replace(CONFIDENTIAL, auth_method="client_secret_post"), "c1", "s3cret", None),
        (PUBLIC, "c1", "s3cret", "client_secret_unregistered"),
        (PUBLIC, "c2", None, "client_differs"),
        (CONFIDENTIAL, "c2", "s3cret", "client_differs"),
        (CONFIDENTIAL, "c1", None, "client_secret_missing"),
        (CONFIDENTIAL, "c1", "wrong", "client_secret_wrong"),
        (CONFIDENTIAL, "c1", "s3cre", "client_secret_wrong"),
        (structs.replace(CONFIDENTIAL, secret_digest=None), "c1", "s3cret", "client_secret_unset"),
        (structs.replace(CONFIDENTIAL, secret_digest=None), "c1", None, "client_secret_unset"),
        (structs.replace(CONFIDENTIAL, auth_method="none"), "c1", None, "client_secret_missing"),
    ],
)
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authenticate(client, client_id, secret, slug, method):
    """RFC 6749 §2.3, §3.2.1: a registered secret is demanded, an unregistered one refused, by either mechanism."""
    credentials = Credentials(client_id=client_id, secret=Secret(secret) if secret else None, method=method)
    if slug is None:
        authenticate(client, credentials, sha256)
    else:
        with pytest.raises(InvalidClient) as refused:
            authenticate(client, credentials, sha256)
        assert refused.value.slug == slug
        assert "s3cret" not in f"{refused.value!r} {refused.value.detail} {credentials!r}"


@given(st.none() | st.text(max_size=60) | st.binary(max_size=60).map(basic), st.text(max_size=20), st.text(max_size=20))
def test_any_credentials_are_read_or_refused(authorization, client_id, secret):
    """No input raises anything else."""
    try:
        read_credentials(authorization, Params({"client_id": client_id, "client_secret": secret}))
        read_credentials(authorization, Params({}))
    except (InvalidClient, InvalidRequest):
        pass
