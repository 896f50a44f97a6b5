"""Our JWS values, the identity keys, and the verification of what providers sign."""

import base64
import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from vestibule.crypto.digests import b64url
from vestibule.crypto.jose import BadKey, BadSignature, ClientKey, IdentityKeys, Signer, UnknownKid, verify_with_jwks
from vestibule.crypto.random import row_id
from vestibule.model import Secret

OLD, NEW = Secret("o" * 43), Secret("n" * 43)
STATE = Signer([NEW], "state")
EXP = 1_800_000_600
SIGNED = STATE.sign({"l": "login", "p": "github"}, expires_at=EXP)
ALGS = ("RS256", "PS256", "ES256", "EdDSA")


def part(document):
    return b64url(document if isinstance(document, bytes) else json.dumps(document).encode())


def header_of(token):
    head = token.partition(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))


def signed_by(key, header, claims=None):
    jws = JWS(json.dumps(claims or {"sub": "ada", "exp": EXP}))
    jws.allowed_algs = [header["alg"]]
    jws.add_signature(key, protected=json.dumps(header))
    return jws.serialize(compact=True)


def public(*keys):
    return {"keys": [key.export_public(as_dict=True) for key in keys]}


RSA = JWK.generate(kty="RSA", size=2048, kid="r1")
EC = JWK.generate(kty="EC", crv="P-256", kid="e1")
ED = JWK.generate(kty="OKP", crv="Ed25519", kid="o1")
KEYS = public(RSA, EC, ED)
GOOD = signed_by(RSA, {"alg": "RS256", "kid": "r1"})


# --- state and form fields --------------------------------------------------------------------------------------------


def test_state_round_trip():
    """Design decision 1: claims and expiry come back; the header says nothing but algorithm and key."""
    assert STATE.open(SIGNED).claims == {"l": "login", "p": "github", "exp": EXP}
    assert header_of(SIGNED).keys() == {"alg", "kid"}


@pytest.mark.parametrize("provider", ["g", "github", "p" * 64])
def test_state_is_short_enough(provider):
    """Design decision 1: some providers cap `state`; with the longest provider id it is still ≤ 240 characters."""
    state = STATE.sign({"l": row_id(), "p": provider}, expires_at=9_999_999_999)
    assert len(state) <= 240


def test_expiry_is_the_callers_to_judge():
    """An expired state is told apart from a forged one, so opening it is no error."""
    assert STATE.open(STATE.sign({}, expires_at=1)).claims == {"exp": 1}


def test_attack_state_without_expiry():
    """A value of ours always ends; `exp` of another type is none."""
    for exp in ("1800000600", None, 1.5):
        unlimited = Signer([NEW], "state").sign({}, expires_at=exp)
        with pytest.raises(BadSignature):
            STATE.open(unlimited)


@pytest.mark.parametrize("purpose", ["form", "state2", "identity", ""])
def test_attack_swapped_purpose(purpose):
    """Design decision 15: a state is no form field and the other way round, though both come from one secret."""
    with pytest.raises(UnknownKid):
        Signer([NEW], purpose).open(SIGNED)
    with pytest.raises(UnknownKid):
        STATE.open(Signer([NEW], purpose).sign({"l": "login", "p": "github"}, expires_at=EXP))


def test_attack_swapped_purpose_with_the_right_kid():
    """The kid is public: what another purpose's key signed under the name of this one's does not fit."""
    (key,) = Signer([NEW], "form")._keys.values()
    with pytest.raises(BadSignature):
        STATE.open(signed_by(key, header_of(SIGNED)))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "none", "kid": None},
        {"alg": "None"},
        {"alg": "HS256"},
        {"alg": "HS384"},
        {"alg": "RS256"},
        {"alg": "hs256"},
        {"alg": ["HS256"]},
        {"alg": "HS256", "kid": ["x"]},
        {"alg": "HS256", "kid": "unknown"},
        {"alg": "HS256", "crit": ["b64"], "b64": False},
        {"alg": "HS256", "typ": "JWT"},
        {"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}},
        {"kid": "x"},
        {},
        [],
        "HS256",
        None,
        b"\xff\xfe",
        b"{",
        b"",
    ],
    ids=str,
)
@pytest.mark.parametrize("signature", ["", SIGNED.rpartition(".")[2]], ids=["unsigned", "signature-of-another"])
def test_attack_header(header, signature):
    """RFC 8725 §2.1, §3.1: `none`, unknown algorithms, missing or unknown keys and extra members are refused."""
    if isinstance(header, dict) and "kid" not in header and len(header) > 1:
        header |= {"kid": header_of(SIGNED)["kid"]}
    with pytest.raises(BadSignature):
        STATE.open(f"{part(header)}.{SIGNED.split('.')[1]}.{signature}")


def test_attack_unknown_kid_is_told_apart():
    """A key that was rotated away is not a forgery, and the log should say so."""
    with pytest.raises(UnknownKid):
        Signer([OLD], "state").open(SIGNED)


def test_attack_tampered():
    """No character of header, claims or signature may change."""
    opened = 0
    for place, character in enumerate(SIGNED):
        other = "B" if character == "A" else "A"
        try:
            claims = STATE.open(SIGNED[:place] + other + SIGNED[place + 1 :]).claims
        except BadSignature:
            continue
        opened += 1
        assert claims == STATE.open(SIGNED).claims  # unused bits at the end of a base64 part carry nothing
    assert opened <= 1


@pytest.mark.parametrize("length", range(0, len(SIGNED), 7))
def test_attack_acting_on_a_prefix_alone(length):
    """Gateway attack list: a prefix of a good value is worth nothing, and neither is more than it."""
    with pytest.raises(BadSignature):
        STATE.open(SIGNED[:length])
    with pytest.raises(BadSignature):
        STATE.open(SIGNED + SIGNED[: length + 1])


@pytest.mark.parametrize("text", ["", ".", "..", "...", "a.b.c", "é.é.é", "\ud800.a.b", "x" * 20_000, "." * 20_000])
def test_garbage_is_refused(text):
    """What a browser sends as `state` is anybody's choice."""
    with pytest.raises(BadSignature):
        STATE.open(text)


def test_rotation_old_opens_new_signs():
    """Design decision 20: `signing` is a list; the first signs, all open, and a removed one opens nothing more."""
    before, during, after = Signer([OLD], "state"), Signer([NEW, OLD], "state"), Signer([NEW], "state")
    old, new = before.sign({"n": 1}, expires_at=EXP), during.sign({"n": 2}, expires_at=EXP)
    assert during.open(old).claims["n"] == 1
    assert after.open(new).claims["n"] == 2
    with pytest.raises(UnknownKid):
        after.open(old)
    with pytest.raises(UnknownKid):
        before.open(new)


# --- identity keys ----------------------------------------------------------------------------------------------------


def test_identity_jwt_verifies_with_the_published_keys():
    """RFC 7515, RFC 7517: a backend needs the JWKS and nothing else; `kid` is the thumbprint of RFC 7638."""
    keys = IdentityKeys([NEW])
    token = keys.sign({"sub": "ada"})
    assert verify_with_jwks(token, keys.jwks(), ("ES256",)) == {"sub": "ada"}
    assert header_of(token) == {"alg": "ES256", "kid": keys.jwks()["keys"][0]["kid"], "typ": "vestibule-identity+jwt"}
    key = JWK(**{name: keys.jwks()["keys"][0][name] for name in ("kty", "crv", "x", "y")})
    assert key.thumbprint() == header_of(token)["kid"]


def test_jwks_has_no_private_members():
    """RFC 7518 §6: `d` and its like never leave; every entry says what it is for."""
    for key in IdentityKeys([NEW, OLD]).jwks()["keys"]:
        assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
        assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")


def test_identity_key_rotation():
    """Gateway, identity: overlapping keys are all published, the first signs; every replica derives the same ones."""
    before, during = IdentityKeys([OLD]), IdentityKeys([NEW, OLD])
    assert before.jwks()["keys"] == during.jwks()["keys"][1:]
    assert verify_with_jwks(before.sign({"n": 1}), during.jwks(), ("ES256",)) == {"n": 1}
    with pytest.raises(UnknownKid):
        verify_with_jwks(during.sign({"n": 1}), before.jwks(), ("ES256",))


def test_attack_identity_jwt_as_state():
    """Design decision 15: separate keys, so none can be replayed as another."""
    with pytest.raises(BadSignature):
        STATE.open(IdentityKeys([NEW]).sign({"l": "login", "exp": EXP}))
    with pytest.raises(BadSignature):
        verify_with_jwks(SIGNED, IdentityKeys([NEW]).jwks(), ("ES256", "HS256"))


# --- what providers sign ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "header"),
    [
        (RSA, {"alg": "RS256", "kid": "r1"}),
        (RSA, {"alg": "PS256", "kid": "r1"}),
        (RSA, {"alg": "RS256"}),
        (EC, {"alg": "ES256", "kid": "e1"}),
        (EC, {"alg": "ES256", "typ": "JWT", "kid": "e1"}),
        (ED, {"alg": "EdDSA", "kid": "o1"}),
    ],
    ids=str,
)
def test_provider_signature_fits(key, header):
    """OIDC Core §3.1.3.7: any allowed algorithm, with a kid or, where there is none, by trying the keys that could."""
    assert verify_with_jwks(signed_by(key, header), KEYS, ALGS) == {"sub": "ada", "exp": EXP}


def test_attack_hs256_with_an_rsa_key():
    """RFC 8725 §2.1: the public key as an HMAC secret; refused though the admin allows both algorithms."""
    pem = RSA.export_to_pem()
    for secret in (pem, pem.strip(), json.dumps(RSA.export_public(as_dict=True)).encode()):
        forged = signed_by(JWK(kty="oct", k=b64url(secret)), {"alg": "HS256", "kid": "r1"})
        with pytest.raises(BadSignature):
            verify_with_jwks(forged, KEYS, ALGS)
        with pytest.raises(BadSignature):
            verify_with_jwks(forged, KEYS, (*ALGS, "HS256"))


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "ES384", None, ["RS256"], {}], ids=str
)
def test_attack_unlisted_algorithm(algorithm):
    """RFC 8725 §3.1: only what the definition lists; `none` cannot be listed at all."""
    claims, signature = GOOD.split(".")[1:]
    for ending in ("", signature):
        with pytest.raises(BadSignature):
            verify_with_jwks(f"{part({'alg': algorithm, 'kid': 'r1'})}.{claims}.{ending}", KEYS, ALGS)


@pytest.mark.parametrize("member", ["jwk", "x5c", "jku"])
def test_attack_key_brought_along(member):
    """RFC 8725 §3.10: a key inside the token is the attacker's; only the provider's set counts."""
    mine = JWK.generate(kty="RSA", size=2048, kid="r1")
    value = {"jwk": mine.export_public(as_dict=True), "x5c": ["MIIB"], "jku": "https://evil.example/keys"}[member]
    with pytest.raises(BadSignature):
        verify_with_jwks(signed_by(mine, {"alg": "RS256", "kid": "r1", member: value}), KEYS, ALGS)


def test_attack_key_of_another_kid():
    """The token names e1 and was signed by r1: what is named is what is tried."""
    with pytest.raises(BadSignature):
        verify_with_jwks(signed_by(RSA, {"alg": "RS256", "kid": "e1"}), KEYS, ALGS)


def test_unknown_kid_is_worth_another_look():
    """OIDC Core §10.1.1: the caller fetches the set once more for exactly this."""
    with pytest.raises(UnknownKid):
        verify_with_jwks(signed_by(RSA, {"alg": "RS256", "kid": "r2"}), KEYS, ALGS)


@pytest.mark.parametrize(
    "change", [{"use": "enc"}, {"alg": "RS512"}, {"alg": "RSA-OAEP"}, {"kty": "oct", "k": "AAAA"}], ids=str
)
def test_attack_key_meant_for_something_else(change):
    """RFC 7517 §4.2, §4.4: an encryption key or one for another algorithm verifies nothing."""
    key = RSA.export_public(as_dict=True) | change
    with pytest.raises(BadSignature):
        verify_with_jwks(GOOD, {"keys": [key]}, ALGS)


@pytest.mark.parametrize(
    "odd",
    [
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
        {},
        "x",
        7,
    ],
    ids=str,
)
def test_one_odd_key_does_not_sink_the_set(odd):
    """RFC 7517 §5: keys of unknown types are ignored, so a provider that adds one goes on working."""
    assert verify_with_jwks(GOOD, {"keys": [odd, *KEYS["keys"]]}, ALGS)["sub"] == "ada"


@pytest.mark.parametrize("keys", [{}, {"keys": None}, {"keys": []}, {"keys": {}}, {"keys": "x"}, {"other": 1}], ids=str)
def test_key_set_without_keys(keys):
    """A document that is no key set verifies nothing and crashes nothing."""
    with pytest.raises(BadSignature):
        verify_with_jwks(GOOD, keys, ALGS)


@pytest.mark.parametrize("claims", [b"[]", b"1", b"not json", b"\xff"], ids=repr)
def test_signed_claims_must_be_an_object(claims):
    """RFC 7519 §7.2: a good signature over something else is refused all the same."""
    jws = JWS(claims)
    jws.add_signature(RSA, protected=json.dumps({"alg": "RS256", "kid": "r1"}))
    with pytest.raises(BadSignature):
        verify_with_jwks(jws.serialize(compact=True), KEYS, ALGS)


def test_attack_provider_token_tampered():
    """A changed claim under the old signature."""
    head, _, signature = GOOD.split(".")
    forged = f"{head}.{part(msgspec.json.encode({'sub': 'eve', 'exp': EXP}))}.{signature}"
    with pytest.raises(BadSignature):
        verify_with_jwks(forged, KEYS, ALGS)


# --- the client's own keys --------------------------------------------------------------------------------------------


def pem(**kind):
    return Secret(JWK.generate(**kind).export_to_pem(private_key=True, password=None).decode())


@pytest.mark.parametrize(
    ("alg", "material"),
    [
        ("RS256", pem(kty="RSA", size=2048)),
        ("PS256", pem(kty="RSA", size=2048)),
        ("ES256", pem(kty="EC", crv="P-256")),
        ("ES512", pem(kty="EC", crv="P-521")),
        ("EdDSA", pem(kty="OKP", crv="Ed25519")),
        ("HS256", Secret("s" * 32)),
        ("HS512", Secret("s" * 64)),
    ],
    ids=str,
)
def test_client_key_signs(alg, material):
    """RFC 7515: a compact JWS with the algorithm that was asked for, and a `kid` if there is one."""
    head = json.loads(base64.urlsafe_b64decode(ClientKey(alg, material).sign({"a": 1}, kid="k").split(".")[0] + "=="))
    assert head == {"alg": alg, "typ": "JWT", "kid": "k"}
    assert ClientKey(alg, material).sign({"a": 1}, kid=None).count(".") == 2


P224 = Secret(
    ec.generate_private_key(ec.SECP224R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)
"""A curve that RFC 7518 §6.2.1.1 has no name for."""


@pytest.mark.parametrize(
    ("alg", "material"),
    [
        ("RS256", pem(kty="RSA", size=1024)),
        ("RS256", pem(kty="EC", crv="P-256")),
        ("ES256", pem(kty="EC", crv="P-384")),
        ("ES256", pem(kty="RSA", size=2048)),
        ("EdDSA", pem(kty="EC", crv="P-256")),
        ("ES256", P224),
        ("HS", Secret("s" * 64)),
        ("HS1", Secret("s" * 64)),
        ("ES256", Secret("not a key")),
        ("ES256", Secret("")),
        ("ES256", Secret(JWK.generate(kty="EC", crv="P-256").export_to_pem().decode())),
        ("ES256", Secret(JWK.generate(kty="EC", crv="P-256").export_to_pem(private_key=True, password=b"x").decode())),
        ("HS256", Secret("s" * 31)),
    ],
    ids=str,
)
def test_attack_client_key_that_is_none(alg, material):
    """Too short, of another kind, public or locked: found when the config loads, and never quoted."""
    with pytest.raises(BadKey) as refused:
        ClientKey(alg, material)
    assert "BEGIN" not in str(refused.value)
