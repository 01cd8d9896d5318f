"""What an `ssl.SSLContext` was made from, for the diagnosis of a refusal.

A context can be asked for little of what was put into it: not for its own certificate, not for
its application protocols, and for its trust anchors only as far as they are marked as CAs. A
diagnosis needs all three. So a function that builds a context declares here what went in; that
changes nothing about the handshake, and an undeclared context is diagnosed too, from what `ssl`
does show.
"""

from __future__ import annotations

import ssl
import weakref

import msgspec
from cryptography import x509
from msgspec.structs import replace

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.loading import load_certificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.path.local_cas import LocalCA
from mtls_echo_tls.vocabulary import API, Vocabulary


class ContextInfo(msgspec.Struct, frozen=True):
    """What one end brings to a handshake.

    Attributes:
        credential, trust: What it proves itself with, and the anchors for the peer's path; None
            when it asks for no certificate.
        alpn: The application protocols it insists on, if any.
        complete: False when the anchors may be more than these.
        declared: False when this is only what can be seen of the context.
        local_cas: CA certificates found beside our own files (`mtls_echo_tls.path.local_cas`).
        other_files: Whether these are files that no program of this project made.
        strict: Whether it holds certificates to RFC 5280 (``VERIFY_X509_STRICT``).
        vocabulary: What the readers of its reports call settings and programs.
    """

    credential: Credential | None = None
    trust: Trust | None = None
    alpn: tuple[str, ...] = ()
    complete: bool = True
    declared: bool = True
    local_cas: tuple[LocalCA, ...] = ()
    other_files: bool = False
    strict: bool = True
    vocabulary: Vocabulary = API


_declared: weakref.WeakKeyDictionary[ssl.SSLContext, ContextInfo] = weakref.WeakKeyDictionary()


def describe_context(context: ssl.SSLContext, info: ContextInfo) -> None:
    """Declare what a context was made from; how strictly it verifies, it tells itself."""
    _declared[context] = replace(info, strict=_is_strict(context))


def context_info(context: ssl.SSLContext) -> ContextInfo:
    """What a context was made from, or what of it can be seen."""
    return _declared.get(context) or _visible(context)


def with_vocabulary(context: ssl.SSLContext, vocabulary: Vocabulary) -> ssl.SSLContext:
    """The context, whose reports from now on speak of settings and programs in these words."""
    describe_context(context, replace(context_info(context), vocabulary=vocabulary))
    return context


def _is_strict(context: ssl.SSLContext) -> bool:
    return bool(context.verify_flags & ssl.VERIFY_X509_STRICT)


def _visible(context: ssl.SSLContext) -> ContextInfo:
    anchors: list[x509.Certificate] = []
    for der in context.get_ca_certs(binary_form=True):
        try:
            anchors.append(load_certificate(der))
        except ValueError:
            continue
    # get_ca_certs() omits what is not marked CA:TRUE, for example a pinned server.
    complete = len(anchors) == context.cert_store_stats()["x509"]
    trust = Trust(tuple(anchors)) if context.verify_mode != ssl.CERT_NONE else None
    strict = _is_strict(context)
    return ContextInfo(trust=trust, complete=complete, declared=False, strict=strict)
