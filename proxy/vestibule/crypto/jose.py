"""JWS and JWKS by jwcrypto. Signatures are checked here; claims are checked by pure code with `now` as an argument,
because jwcrypto's own claim checks read the wall clock.
"""

import binascii
import contextlib
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from jwcrypto.common import JWException
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from vestibule.crypto.digests import b64url, derive
from vestibule.model import Secret

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_MAX_TOKEN = 16_384


class BadSignature(Exception):
    """Malformed, an algorithm that is not allowed, or a signature that does not fit."""


class UnknownKid(BadSignature):
    """The key set has no such key: it may have been rotated, so fetching it again once is worth a try."""


class Signed(msgspec.Struct, frozen=True):
    """Claims whose signature fits; only `Signer.open` makes one."""

    claims: dict[str, Any]


class Signer:
    """Signs and opens our own short-lived, symmetric JWS values (HS256, RFC 7515) for one purpose.

    The first secret signs, all open. Each purpose has keys of its own, so no value can be replayed as another. The
    `kid` is four characters, because some providers cap the length of `state`.
    """

    def __init__(self, secrets: Sequence[Secret], purpose: str) -> None:
        self._purpose = purpose
        self._keys: dict[str, JWK] = {}
        for secret in secrets:
            raw = derive(secret.reveal(), f"jws/{purpose}")
            kid = b64url(derive(secret.reveal(), f"kid/{purpose}", 3))
            self._keys.setdefault(kid, JWK(kty="oct", k=b64url(raw)))
        self._kid = next(iter(self._keys))

    def sign(self, claims: dict[str, Any], *, expires_at: int) -> str:
        """A compact JWS; `expires_at` is epoch seconds and becomes `exp`."""
        jws = JWS(msgspec.json.encode({**claims, "exp": expires_at}))
        jws.add_signature(self._keys[self._kid], protected=_compact({"alg": "HS256", "kid": self._kid}))
        serialized: str = jws.serialize(compact=True)
        return serialized

    def open(self, text: str) -> Signed:
        """Raises BadSignature. Expiry is the caller's to check: an expired value is told apart from a forged one."""
        header = _header(text)
        if header.keys() != {"alg", "kid"} or header["alg"] != "HS256":
            raise BadSignature("unexpected header")
        key = self._keys.get(header["kid"]) if isinstance(header["kid"], str) else None
        if key is None:
            raise UnknownKid("unknown kid")
        claims = _verified(text, key, ("HS256",))
        if not isinstance(claims.get("exp"), int):
            raise BadSignature("no exp")
        return Signed(claims)


class IdentityKeys:
    """The ES256 keys of the identity JWTs that backends receive (RFC 7515), derived from the signing secrets.

    A derived key needs no file, is the same on every replica, and rotates with the list: the first signs, all are
    published (RFC 7517).
    """

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._keys = [_derived_ec_key(secret) for secret in secrets]

    def sign(self, claims: dict[str, Any]) -> str:
        key = self._keys[0]
        jws = JWS(msgspec.json.encode(claims))
        jws.add_signature(key, protected=_compact({"alg": "ES256", "kid": key["kid"], "typ": "vestibule-identity+jwt"}))
        serialized: str = jws.serialize(compact=True)
        return serialized

    def jwks(self) -> dict[str, Any]:
        """The public halves (RFC 7517 §5); never the private ones."""
        return {"keys": [{**key.export_public(as_dict=True), "use": "sig", "alg": "ES256"} for key in self._keys]}


class BadKey(Exception):
    """A client key that cannot be read, or is of another kind than its algorithm needs."""


class ClientKey:
    """What this gateway signs with as the client of a provider (RFC 7523 §2.2): its private key, or the client secret.

    Read once, when the config loads, so that a broken key is found there and not at a user's login.
    """

    def __init__(self, alg: str, material: Secret) -> None:
        self._alg = alg
        if alg.startswith("HS"):
            raw, least = material.reveal().encode(), _LEAST_SECRET_BYTES.get(alg)
            if least is None:
                raise BadKey(f"a secret for {alg}")
            if len(raw) < least:
                raise BadKey(f"a secret of at least {least} bytes (RFC 7518 §3.2)")
            self._key = JWK(kty="oct", k=b64url(raw))
            return
        try:
            self._key = JWK.from_pem(material.reveal().encode())
        except (ValueError, TypeError, KeyError, JWException):  # KeyError: a curve that jwcrypto has no name for
            raise BadKey("a private key in PEM, without a passphrase") from None
        if not self._key.has_private or not _signs(self._key, alg):
            raise BadKey(f"a private key for {alg}")

    def sign(self, claims: dict[str, Any], *, kid: str | None) -> str:
        """A compact JWS."""
        header = {"alg": self._alg, "typ": "JWT"} | ({"kid": kid} if kid else {})
        jws = JWS(msgspec.json.encode(claims))
        jws.allowed_algs = [self._alg]
        jws.add_signature(self._key, protected=_compact(header))
        serialized: str = jws.serialize(compact=True)
        return serialized


_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
_LEAST_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_LEAST_RSA_BYTES = 256
"""RFC 7518 §3.3: 2048 bits or more."""


def _signs(key: JWK, alg: str) -> bool:
    if alg[:2] in {"RS", "PS"}:
        return key["kty"] == "RSA" and len(key["n"]) >= _LEAST_RSA_BYTES * 4 // 3
    return bool(key.get("crv") == _CURVES[alg])


def verify_with_jwks(token: str, jwks: dict[str, Any], algs: tuple[str, ...]) -> dict[str, Any]:
    """The claims of a provider's JWS if a key of its set signed it with an allowed algorithm (RFC 8725 §3.1).

    Without a `kid` every key of the right type is tried. `none` and unlisted algorithms never verify.
    """
    header = _header(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in algs:
        raise BadSignature("algorithm is not allowed")
    candidates = [key for key in _keys_of(jwks) if _fits(key, algorithm) and (kid is None or key.get("kid") == kid)]
    if not candidates:
        raise UnknownKid("no key of the set fits")
    for key in candidates:
        try:
            return _verified(token, key, (algorithm,))
        except BadSignature:
            continue
    raise BadSignature("the signature does not fit")


def _keys_of(jwks: dict[str, Any]) -> list[JWK]:
    """What can be read; RFC 7517 §5 wants keys of unknown types ignored, and one odd key must not end all sign-ins."""
    entries = jwks.get("keys")
    if not isinstance(entries, list):
        raise BadSignature("the key set cannot be read")
    keys = []
    for entry in entries:
        with contextlib.suppress(JWException, ValueError, TypeError, KeyError):
            keys.append(JWK.from_json(json.dumps(entry)))
    return keys


def _fits(key: JWK, algorithm: str) -> bool:
    """An RSA public key must never verify an HMAC (RFC 8725 §2.1)."""
    family = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP", "HS": "oct"}.get(algorithm[:2])
    return key["kty"] == family and key.get("use") in (None, "sig") and key.get("alg") in (None, algorithm)


def _header(token: str) -> dict[str, Any]:
    if not isinstance(token, str) or len(token) > _MAX_TOKEN or token.count(".") != 2:  # noqa: PLR2004  # RFC 7515 §3.1
        raise BadSignature("not a compact JWS")
    head = token.partition(".")[0]
    try:
        header = msgspec.json.decode(binascii.a2b_base64(head.replace("-", "+").replace("_", "/") + "=="))
    except (ValueError, msgspec.DecodeError) as error:
        raise BadSignature("unreadable header") from error
    if not isinstance(header, dict):
        raise BadSignature("header is not an object")
    return header


def _verified(token: str, key: JWK, algs: tuple[str, ...]) -> dict[str, Any]:
    jws = JWS()
    jws.allowed_algs = list(algs)
    try:
        jws.deserialize(token, key)
        claims = msgspec.json.decode(jws.payload)
    except (JWException, ValueError, TypeError, msgspec.DecodeError) as error:
        raise BadSignature("the signature does not fit") from error
    if not isinstance(claims, dict):
        raise BadSignature("claims are not an object")
    return claims


def _compact(header: dict[str, str]) -> str:
    return json.dumps(header, separators=(",", ":"))


def _derived_ec_key(secret: Secret) -> JWK:
    """FIPS 186-5 A.2.1: 64 bits more than the order, reduced, so that the bias is negligible."""
    seed = int.from_bytes(derive(secret.reveal(), "identity-es256", 40))
    key = JWK.from_pyca(ec.derive_private_key(seed % (_P256_ORDER - 1) + 1, ec.SECP256R1()))
    key["kid"] = key.thumbprint()
    return key
