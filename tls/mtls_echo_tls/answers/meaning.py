"""What an answer says of the client: that it was refused, turned away, or none of both.

A table (`http.tsv`) has what servers of several makes are known to say, each with its source: the
status alone leaves much open, and nginx, which completes the handshake with every client, has one
text for all that can be wrong with a certificate. What a certificate shows of itself decides then
(`mtls_echo_tls.diagnosis.narrowing`).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple, cast

from mtls_echo_tls.answers.answer import ServerAnswer
from mtls_echo_tls.answers.tables import rows
from mtls_echo_tls.slugs import Slugs

# Every fault of a certificate that a server may have met, the common ones first.
_ANY_FAULT: Slugs = (
    "unknown-authority", "missing-intermediate", "expired", "wrong-usage", "self-signed",
    "revoked", "not-yet-valid", "impostor-authority", "path-too-long", "expired-authority",
    "crl-missing", "crl-expired", "not-yet-valid-authority", "not-an-authority", "bad-signature",
    "name-not-permitted", "unknown-critical-extension", "not-conforming", "clock-skew",
)  # fmt: skip

_NOT_AUTHORISED: Slugs = ("not-authorised",)

# Of a status that turns a client away, where nothing else is known: a server that asks for a
# certificate and does without may have ignored ours.
TURNED_AWAY: Slugs = (*_NOT_AUTHORISED, "unknown-authority")


# What is not about the certificate that was presented.
_OF_OTHERS: Slugs = ("no-client-certificate", "not-authorised", "unrecognised-name")


class Meaning(NamedTuple):
    """What was said, in words or by a status alone, and by which product if they are its own."""

    causes: Slugs
    product: str
    in_words: bool


def meaning_of(answer: ServerAnswer, *, asked: bool, sent: bool) -> Meaning:
    """What an HTTP answer says of us; no causes where it says nothing.

    ``asked``: whether the server asked for a certificate in the handshake; ``sent``: whether it
    got one. A status that turns a client away without a text may be about its certificate, or
    that there was none.
    """
    causes, product, in_words = _row_of(answer)
    if causes == TURNED_AWAY and not sent:
        causes = ("no-client-certificate", *_NOT_AUTHORISED) if asked else _NOT_AUTHORISED
    elif not sent and not {*causes} <= {*_OF_OTHERS}:
        # node has UNABLE_TO_GET_ISSUER_CERT for a client without any.
        causes = ("no-client-certificate",)
    return Meaning(causes, product, in_words)


def turned_away(
    path: Slugs, ours: Set[bytes], listed: Sequence[bytes], *, omitted: bool = False
) -> Slugs:
    """What `TURNED_AWAY` is, by the faults of our path and the CAs that the server has listed.

    ``omitted``: our path ends at a certificate that an intermediate seems to have issued.
    """
    if not listed:
        return tuple(dict.fromkeys((*path, *TURNED_AWAY)))
    missing: Slugs = ("missing-intermediate",) if omitted else ()
    unlisted = (*missing, *TURNED_AWAY[::-1])
    known = unlisted if ours.isdisjoint(listed) else _NOT_AUTHORISED
    return tuple(dict.fromkeys((*path, *known)))


def _row_of(answer: ServerAnswer) -> Meaning:
    said = f"{answer.phrase} {answer.text}".casefold()
    status = str(answer.status)
    for product, wanted, text, causes, _ in rows("http.tsv"):
        if wanted not in (status, f"{status[0]}xx") or text not in said:
            continue
        families: dict[str, Slugs] = {"*": _ANY_FAULT, "?": TURNED_AWAY}
        slugs = families.get(causes) or cast("Slugs", tuple(causes.split()))
        return Meaning(slugs, product, bool(text))
    return Meaning((), "", False)
