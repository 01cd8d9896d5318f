"""Which faults of a certificate an alert can mean, by the stack that sent it.

One alert, many meanings: Go's clients say bad_certificate of whatever they cannot verify, Java's
servers certificate_unknown, gnutls-serv access_denied, while OpenSSL has an alert of its own for
nearly every verdict. The table (`alerts.tsv`) has one row for each stack, the side that verifies
and the alert, with the stack's source or the version that was measured. An application may
override any of it by verifying for itself, and a proxy answers with its own stack.

What is common among the faults that remain is another matter, counted in public issues: behind
alerts 42, 46 and 48 together stood a CA that the verifier does not have in 24 threads of 46. A
clock, a weak key, a critical extension or a name constraint was never the cause of one of them.
"""

from __future__ import annotations

from collections.abc import Set
from functools import cache
from importlib.resources import files
from typing import NamedTuple, cast

from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Slug, Slugs

# Where nothing else decides: what is common first, and last what was never seen.
_COMMON_FIRST: Slugs = (
    "unknown-authority", "missing-intermediate", "impostor-authority", "wrong-usage", "revoked",
    "crl-missing", "not-authorised", "self-signed", "wrong-name", "no-san", "expired",
    "expired-authority", "not-yet-valid", "not-yet-valid-authority", "bad-signature",
    "key-not-owned", "not-an-authority", "path-too-long", "revoked-authority", "crl-expired",
    "crl-not-yet-valid", "empty-trust", "not-conforming", "clock-skew", "weak-key",
    "weak-signature", "unknown-critical-extension", "missing-key-identifier",
    "name-not-permitted", "tampered",
)  # fmt: skip

# What an alert's own words say, before what is common.
_LITERAL: dict[int, Slugs] = {
    A.unsupported_certificate: ("wrong-usage",),
    A.certificate_revoked: ("revoked", "revoked-authority"),
    A.certificate_expired: ("expired", "expired-authority", "not-yet-valid"),
    A.access_denied: ("not-authorised",),
    A.decrypt_error: ("key-not-owned", "bad-signature"),
}

# What no certificate shows: a clock that is wrong makes its dates wrong.
_DATED: frozenset[Slug] = frozenset({"expired", "not-yet-valid"})


class AlertRow(NamedTuple):
    """A row of the table; the verifier is None where both sides send the same."""

    stack: str
    verifier: Side | None
    alert: int
    faults: Slugs
    source: str


@cache
def table() -> tuple[AlertRow, ...]:
    """The whole table, in its order."""
    text = files("mtls_echo_tls.stacks").joinpath("alerts.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return tuple(
        AlertRow(
            stack=stack,
            verifier=None if verifier == "both" else cast("Side", verifier),
            alert=int(alert),
            faults=cast("Slugs", tuple(faults.split())),
            source=source,
        )
        for stack, verifier, alert, faults, source in rows
    )


def meant_by(stacks: Set[str], alert: int, verifier: Side) -> Slugs:
    """The faults for which one of these stacks sends the alert, the common ones first.

    Of no certificate at all nothing is said here: that is known without a table. An empty set of
    stacks means that any of them may have sent it.
    """
    rows = (row for row in table() if row.alert == alert and row.verifier in (None, verifier))
    found: set[Slug] = {
        slug for row in rows if not stacks or row.stack in stacks for slug in row.faults
    }
    found.discard("no-client-certificate")
    if verifier == "server":
        found -= {"wrong-name", "no-san"}  # a client's certificate is not checked for a host
    if found & _DATED:
        found.add("clock-skew")
    return likely_first(found, alert)


def likely_first(causes: Set[Slug], alert: int | None = None) -> Slugs:
    """The causes in the order of what the alert says literally, and then of what is common."""
    literal = _LITERAL.get(alert, ()) if alert is not None else ()
    order = dict.fromkeys((*literal, *_COMMON_FIRST))
    return (*(slug for slug in order if slug in causes), *sorted(causes - order.keys()))
