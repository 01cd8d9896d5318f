"""What a context was made from, kept beside it for the day it refuses somebody.

An `ssl.SSLContext` can be asked for little of what was put into it: not for its own certificate,
not for its application protocols, and for its trust anchors only as far as they are marked as
authorities. A diagnosis needs all three. So whoever builds a context says here what went in; it
changes nothing about the handshake, and a context that nobody described is diagnosed too, from
what `ssl` does tell.
"""

from __future__ import annotations

import ssl
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cryptography import x509

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.reading import load_certificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.diagnosis.vocabulary import API, Vocabulary

if TYPE_CHECKING:
    from mtls_echo_tls.path.local_cas import LocalCA


@dataclass(frozen=True)
class Configuration:
    """What one end brings to a handshake.

    Attributes:
        credential: What it proves itself with.
        trust: Whom it believes; None when it asks for no certificate.
        alpn: The application protocols it insists on, if any.
        complete: False when the anchors may be more than these.
        described: False when nobody said what the context was made from.
        vocabulary: What the readers of its reports call settings and programs.
    """

    credential: Credential | None = None
    trust: Trust | None = None
    alpn: tuple[str, ...] = ()
    complete: bool = True
    described: bool = True
    vocabulary: Vocabulary = API

    @property
    def nearby(self) -> tuple[LocalCA, ...]:
        """The authorities whose certificates lie beside ours (`mtls_echo_tls.path.local_cas`)."""
        from mtls_echo_tls.path.local_cas import recall_nearby

        return recall_nearby(self.credential, self.trust)


_described: weakref.WeakKeyDictionary[ssl.SSLContext, Configuration] = weakref.WeakKeyDictionary()


def remember(context: ssl.SSLContext, configuration: Configuration) -> None:
    """Say what a context was made from."""
    _described[context] = configuration


def recall(context: ssl.SSLContext) -> Configuration:
    """What a context was made from, or what of it can be seen."""
    found = _described.get(context)
    return found if found is not None else _visible(context)


def with_vocabulary(context: ssl.SSLContext, vocabulary: Vocabulary) -> ssl.SSLContext:
    """The context, whose reports from now on speak of settings and programs in these words."""
    remember(context, replace(recall(context), vocabulary=vocabulary))
    return context


def _visible(context: ssl.SSLContext) -> Configuration:
    anchors: list[x509.Certificate] = []
    for der in context.get_ca_certs(binary_form=True):
        try:
            anchors.append(load_certificate(der))
        except ValueError:
            continue
    # get_ca_certs() leaves out what is not marked CA:TRUE, a pinned server for one.
    complete = len(anchors) == context.cert_store_stats()["x509"]
    trust = Trust(tuple(anchors)) if context.verify_mode != ssl.CERT_NONE else None
    return Configuration(trust=trust, complete=complete, described=False)
