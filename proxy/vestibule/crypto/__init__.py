"""Primitives: digests and JOSE are pure, `random` and `sealing` draw random bytes. Nobody else does either."""
