"""Altered DER: certificates and CRLs of every kind that we make, with some bytes changed."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import strategies as st

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.flaws.flaw import FlawRole
from mtls_echo_pki.flaws.registry import FLAWS
from tests.support.flaws import REQUESTS
from tests.support.fuzzing import USUAL, examples

many = examples(USUAL)

# What odd encoders write: tags of other string types, lengths, and the ends of a byte.
_TELLING = (0, 1, 2, 3, 4, 5, 6, 0x0C, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1E, 0x30, 0x31, 0x7F)
_ENDS = (0x80, 0x81, 0x82, 0xA0, 0xA3, 0xFF)
_BYTES = st.one_of(st.sampled_from(_TELLING + _ENDS), st.integers(0, 255))


@cache
def certificates() -> tuple[bytes, ...]:
    """Every kind of certificate that is made here, bad ones included, as DER."""
    root = Authority.root("fuzzed")
    made = [root.certificate, *root.intermediate().path]
    for key_type in KeyType:
        request = Request.client("a.test", subject="a", key_type=key_type)
        made.append(root.issue(request).certificate)
    roles: tuple[FlawRole, ...] = ("server", "client")
    for flaw in FLAWS.values():
        if flaw.slug != "oversize":
            role = next(role for role in roles if role in flaw.roles)
            made += flaw.build(root, REQUESTS[role]).credential.path
    return tuple(dict.fromkeys(c.public_bytes(Encoding.DER) for c in made))


@cache
def crls() -> tuple[bytes, ...]:
    """CRLs with and without entries, as DER."""
    root = Authority.root("fuzzed")
    empty = root.crl()
    root.revoke(root.issue("a.test"))
    return tuple(crl.public_bytes(Encoding.DER) for crl in (empty, root.crl()))


@st.composite
def mutated(draw: st.DrawFn, corpus: tuple[bytes, ...]) -> bytes:
    """One of them with up to four bytes changed, and maybe a piece left out or repeated."""
    der = bytearray(draw(st.sampled_from(corpus)))
    for _ in range(draw(st.integers(0, 4))):
        der[draw(st.integers(0, len(der) - 1))] = draw(_BYTES)
    start, length = draw(st.integers(0, len(der) - 1)), draw(st.integers(0, 40))
    match draw(st.sampled_from(("keep", "keep", "keep", "omit", "repeat"))):
        case "omit":
            del der[start : start + length]
        case "repeat":
            der[start:start] = der[start : start + length]
        case _:
            pass
    return bytes(der)
