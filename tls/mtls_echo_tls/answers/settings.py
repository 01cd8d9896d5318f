"""Which setting of a server decides, by product: what to look up where the fault lies over there.

The product is known by what the server says of itself, by the words in which it refuses, or by the
habits of its TLS stack. OpenSSL's are those of many products: of them the commonest are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from mtls_echo_tls.answers.answer import ServerAnswer
from mtls_echo_tls.answers.meaning import meaning_of
from mtls_echo_tls.answers.tables import rows
from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Slug, Slugs

# Of a server that is not known; more would be a page of documentation.
_COMMONEST = ("nginx", "Apache", "HAProxy")

# How servers begin their field Server, in lower case.
_SERVERS = (
    ("nginx", "nginx"), ("openresty", "nginx"), ("apache", "Apache"), ("haproxy", "HAProxy"),
    ("envoy", "Envoy"), ("istio-envoy", "Envoy"), ("jetty", "Java"), ("undertow", "Java"),
    ("microsoft-iis", "IIS"), ("caddy", "Caddy"), ("traefik", "Traefik"),
    ("kestrel", "Kestrel"), ("gunicorn", "gunicorn"), ("uvicorn", "uvicorn"),
    ("hypercorn", "hypercorn"), ("werkzeug", "Werkzeug"), ("basehttp", "Python"),
)  # fmt: skip

# A stack that one of the products has alone, or nearly so.
_STACKS = (("Go", "Go"), ("Java", "Java"), ("BoringSSL", "Envoy"))

_OTHER_STACKS = frozenset({"GnuTLS", "NSS", "rustls", "mbedTLS", "s2n", "LibreSSL"})

_TOPICS: dict[str, Slugs] = {
    "require": ("no-client-certificate",),
    "crl": ("revoked", "revoked-authority", "crl-missing", "crl-expired", "crl-not-yet-valid"),
    "admit": ("not-authorised",),
    "name": ("unrecognised-name",),
    "protocol": (
        "no-common-version", "no-common-cipher", "no-common-group",
        "no-common-signature-algorithm",
    ),
    "dates": (
        "expired", "expired-authority", "not-yet-valid", "not-yet-valid-authority", "clock-skew",
        "wrong-usage",
    ),
    "trust": (
        "unknown-authority", "missing-intermediate", "impostor-authority", "self-signed",
        "empty-trust", "path-too-long", "bad-signature", "not-an-authority",
    ),
}  # fmt: skip

# What we find in a server's certificates, and it mends where it keeps them.
_OF_SERVERS: Slugs = (
    "missing-intermediate", "expired", "expired-authority", "wrong-name", "no-san", "self-signed",
    "wrong-usage",
)  # fmt: skip


def topic_of(cause: Slug | None, refused: Side | None) -> str:
    """What is in question; "" where no setting decides.

    Without a cause it is that the server has asked for no certificate.
    """
    if cause is None:
        return "ask"
    if refused == "server":
        return "own" if cause in _OF_SERVERS else ""
    return next((topic for topic, causes in _TOPICS.items() if cause in causes), "")


def product_of(
    answer: ServerAnswer | None, stacks: Set[str], known: str | None = None
) -> str | None:
    """The product that a server is, as far as it shows; "" for another one, None: unknown."""
    if known is not None:
        return known
    if answer is not None:
        said = answer.server.casefold()
        found = [product for start, product in _SERVERS if said.startswith(start)]
        own_words = meaning_of(answer, asked=True, sent=True).product if answer.status else ""
        if found or own_words or answer.protocol == "PostgreSQL":
            return (*found, own_words or answer.protocol)[0]
    for start, product in _STACKS:
        if stacks and all(stack.startswith(start) for stack in stacks):
            return product
    return "" if stacks & _OTHER_STACKS else None


def settings(topic: str, product: str | None) -> Iterator[tuple[str, str]]:
    """Products, and what to look up in each."""
    for about, name, text, _ in rows("settings.tsv"):
        if about == topic and (name == product or (product is None and name in _COMMONEST)):
            yield name, text
