"""What a server's CertificateRequest says of the certificates that it accepts.

A server may name the CAs that it trusts (certificate_authorities, RFC 8446 §4.2.4) and the
signature algorithms that it can verify. Go and Java clients send no certificate whose issuer is
not named; OpenSSL sends it all the same, and is refused. The list is a hint: nginx and others
trust CAs that they do not name, and Python's servers name none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cryptography import x509

from mtls_echo_pki.certificates.reading import issuer_name
from mtls_echo_tls.slugs import Slugs, drop, keep
from mtls_echo_tls.trace import cursor
from mtls_echo_tls.trace.cursor import Cursor, MalformedError
from mtls_echo_tls.trace.decoding import Requested
from mtls_echo_tls.trace.recorder import Recorder

_AUTHORITIES = 47

# Named to a reader; a server that trusts the web's CAs has more than a hundred.
_MOST_NAMES = 4


def accepted_authorities(recorder: Recorder) -> tuple[bytes, ...]:
    """The names of CAs in the CertificateRequest that was received, DER; () for none."""
    request = recorder.find("received", "CertificateRequest")
    if request is None:
        return ()
    try:
        body = Cursor(request.body[4:])
        body.vector(1)  # a context in TLS 1.3, kinds of certificate in TLS 1.2
        if recorder.find("received", "EncryptedExtensions") is not None:
            names = body.extensions().get(_AUTHORITIES, b"\0\0")
        else:
            body.vector(2)
            names = body.take(body.left)
        return tuple(_names(Cursor(Cursor(names).vector(2))))
    except MalformedError:
        return ()


def _names(listed: Cursor) -> Iterator[bytes]:
    while listed.left:
        yield listed.vector(2)


def request_in_words(asked: Requested, *, only_tls13: bool) -> str:
    """What was asked for, and that a client without such a certificate may have another."""
    issuer = " or ".join(asked.authorities[:_MOST_NAMES]) or "any CA"
    signature = ", ".join(asked.signature_algorithms[:_MOST_NAMES])
    more = len(asked.signature_algorithms) - _MOST_NAMES
    signature += f" or {more} more" if more > 0 else ""
    has_brainpool = any("brainpool" in scheme for scheme in asked.signature_algorithms)
    odd = "secp256k1" if has_brainpool else "secp256k1 or a Brainpool curve"
    return (
        f"a certificate of {issuer} whose key signs by {signature}; a client does not send one"
        f" whose key does not{f', such as one on {odd}' if only_tls13 else ''}"
    )


def asked_for_in_words(asked: Requested) -> str:
    """What was asked for, as far as the server has said: CAs, and signatures."""
    issuers_named = _some(asked.authorities, "; ") or "any CA: it names none"
    return f"a certificate of {issuers_named}; signed by {_some(asked.signature_algorithms, ', ')}"


def _some(names: Sequence[str], separator: str) -> str:
    """The first of these names, and how many more there are."""
    more = len(names) - _MOST_NAMES
    return separator.join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def by_listed_authorities(
    causes: Slugs,
    path: Sequence[x509.Certificate],
    recorder: Recorder,
    *,
    complete: bool = False,
) -> Slugs:
    """The causes why our path was refused, in the order that the server's list of CAs suggests.

    Complete is a path that leads to a root, by sound signatures.
    """
    listed = accepted_authorities(recorder)
    first: Slugs = ("unknown-authority",)
    if not listed or first[0] not in causes:
        return causes
    if issuers(path).isdisjoint(listed):
        return (*first, *drop(causes, first))
    # It has a CA of that name: then another certificate of that CA, or one that is missing. If
    # we have that CA, and it did sign ours, there would have to be two CAs of the name.
    about_ours: Slugs = ("revoked", "crl-missing") if complete else ()
    beside = keep((*about_ours, "impostor-authority", "missing-intermediate"), causes)
    return (*beside, *first, *drop(causes, {*beside, *first}))


def issuers(path: Sequence[x509.Certificate]) -> set[bytes]:
    """The names that issued the certificates of a path, DER."""
    return {issuer_name(certificate).der for certificate in path}


def enumerated(names: Sequence[bytes]) -> str:
    """Some of these names, for a reader, and how many more there are."""
    shown = "; ".join(cursor.distinguished_name(name) for name in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown}; and {more} more" if more > 0 else shown
