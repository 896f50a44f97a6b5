"""id_tokens as a provider signs them, with real keys."""

import json

from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from provider.driver import ISSUER, NOW

RSA = JWK.generate(kty="RSA", size=2048, kid="r1", use="sig")
EC = JWK.generate(kty="EC", crv="P-256", kid="e1", use="sig")
OTHER = JWK.generate(kty="RSA", size=2048, kid="r1")
KEYS = {"keys": [RSA.export_public(as_dict=True), EC.export_public(as_dict=True)]}
CLAIMS = {
    "iss": ISSUER,
    "aud": "the client",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": "the-nonce",
    "sub": "u1",
    "email": "id@x.example",
    "email_verified": True,
    "name": "From Token",
}


def signed(claims=CLAIMS, key=RSA, **header):
    jws = JWS(json.dumps(claims))
    jws.add_signature(key, protected=json.dumps({"alg": "RS256", "kid": key.get("kid")} | header))
    return jws.serialize(compact=True)
