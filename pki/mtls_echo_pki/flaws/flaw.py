"""Flaws: deliberately bad credentials, each a valid baseline with exactly one thing changed.

A failure can be understood only where nothing else could have caused it. (A public test site's
"revoked" host, which had also expired, proved nothing about revocation for years.) So a flaw is a
function from a *baseline*, which the same verifier accepts, to the same with one difference.
The baseline certificate's own fields are signed once more with the change in them; names, dates,
key and even serial number stay, and every other certificate of the path stays as it is, bit for
bit. A test compares the two, for every flaw, and finds what ``differs`` promises, and no more.

One function is one flaw: its name is the slug, the first line of its docstring the title, and the
rest of the docstring what there is to know. The decorator adds what happens: the verdict of
OpenSSL, measured in real handshakes.

The verifier is Python's ``ssl`` with ``VERIFY_X509_STRICT`` and ``VERIFY_X509_PARTIAL_CHAIN`` and
without matching of common names, as this project's contexts are, on OpenSSL 3.0; TLS 1.2 and 1.3
differ where ``unless`` says so. Numbers, never texts, identify a verdict: the texts change between
releases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.flaws.baseline import (
    BELOW_A_ROOT,
    Baseline,
    BaselineFactory,
    ValidationInput,
    issued_directly,
)

FlawRole: TypeAlias = Literal["server", "client"]
TLSVersion: TypeAlias = Literal["1.2", "1.3"]

BOTH: tuple[FlawRole, ...] = ("server", "client")
SERVER_ONLY: tuple[FlawRole, ...] = ("server",)

# The alert that OpenSSL sends for a verify code.
_ALERTS: dict[int | None, str] = {
    code: alert
    for alert, codes in {
        "bad_certificate": (9, 11, 62, 64, 66, 67, 68),
        "certificate_expired": (10, 12),
        "certificate_revoked": (23,),
        "certificate_unknown": (34, 47, 48, 85, 86, 88, 92),
        "decrypt_error": (7, 8),
        "unknown_ca": (3, 18, 19, 20, 25, 79),
        "unsupported_certificate": (26,),
    }.items()
    for code in codes
}


class Deviation(msgspec.Struct, frozen=True, kw_only=True, rename={"by_presenter": "by_bearer"}):
    """A case in which a flaw has another verdict than usual.

    Args:
        role: Whose credential it is.
        tls: The version, "1.2" or "1.3"; None for both.
        reason: OpenSSL's reason symbol, on the side that gives up; None: the handshake succeeds.
        alert: On the wire; None if nothing is refused.
        by_presenter: Whether the presenter gives up, and not the verifier.
        why: In one clause.
    """

    role: FlawRole
    tls: TLSVersion | None
    reason: str | None
    alert: str | None
    by_presenter: bool = False
    why: str


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """One way for a credential, or the trust it is verified with, to be bad.

    Attributes:
        slug: Its name; the cause's, when that has only this flaw.
        cause: What a diagnosis calls it, one of several flaws' common name.
        title: What is wrong, in one sentence.
        about: What else there is to know; may be empty.
        differs: The one thing in which it differs from the baseline: a place, and after a
            colon what about it, unless the whole of it is another or is missing.
        verify_code: OpenSSL's ``X509_V_ERR_*``, or None if it is not a verdict on a certificate.
        reason: OpenSSL's reason symbol, on the verifier's side.
        alert: What the verifier sends, by its RFC 8446 name.
        roles: The roles whose credential can have it.
        rfc: Where the rule is written.
        load_error: OpenSSL's reason symbol when the credential's own side loads it at its default
            security level; None when it loads. To be verified at all, it must then be presented
            with ``SECLEVEL=0``. OpenSSL 3.5 and 3.6 load what 3.0 calls CA_MD_TOO_WEAK.
        unless: Exceptions from ``verify_code``, ``reason`` and ``alert``.
        needs_root: Whether it makes intermediates of its own, which takes a root's key.
    """

    slug: str
    cause: str
    title: str
    about: str
    differs: str
    verify_code: int | None
    reason: str
    alert: str
    roles: tuple[FlawRole, ...]
    rfc: str
    load_error: str | None
    unless: tuple[Deviation, ...]
    needs_root: bool
    prepare: BaselineFactory
    apply: Callable[[Baseline], ValidationInput]

    def build(self, authority: Authority, request: Request) -> ValidationInput:
        """Make the bad input.

        Args:
            authority: Issues it; a root when :attr:`needs_root`.
            request: What the certificate says otherwise; its usage must be among the roles.

        Raises:
            ValueError: If the flaw makes no sense for this request, or needs a root.
        """
        return self.pair(authority, request)[1]

    def pair(
        self, authority: Authority, request: Request
    ) -> tuple[ValidationInput, ValidationInput]:
        """Make the baseline's input, and the bad one that differs from it in one thing.

        Raises:
            ValueError: As :meth:`build`.
        """
        if request.usage.value not in self.roles:
            raise ValueError(
                f'the flaw "{self.slug}" concerns {" and ".join(self.roles)} certificates only; '
                f"a {request.usage.value}'s is not checked for it"
            )
        if self.needs_root and authority.issuers:
            raise ValueError(
                f'the flaw "{self.slug}" lies in an intermediate; only a root can make one'
            )
        baseline = self.prepare(authority, request)
        return baseline.inputs, self.apply(baseline)

    def expected(self, role: FlawRole, tls: TLSVersion) -> Deviation | None:
        """Return the exception that holds for a role and version, if there is one."""
        for exception in self.unless:
            if exception.role == role and exception.tls in (None, tls):
                return exception
        return None


def flaw(
    cause: str,
    differs: str,
    code: int | None,
    rfc: str,
    *,
    alert: str | None = None,
    reason: str = "CERTIFICATE_VERIFY_FAILED",
    roles: tuple[FlawRole, ...] = BOTH,
    prepare: BaselineFactory | None = None,
    load_error: str | None = None,
    unless: tuple[Deviation, ...] = (),
) -> Callable[[Callable[[Baseline], ValidationInput]], Flaw]:
    """Make a flaw of a function; see :class:`Flaw` for the arguments.

    Args:
        alert: The one that OpenSSL sends for ``code`` unless given.
        prepare: Makes the baseline; :func:`issued_directly` unless given.
    """

    def make(apply: Callable[[Baseline], ValidationInput]) -> Flaw:
        title, _, about = (apply.__doc__ or "").strip().partition("\n")
        return Flaw(
            slug=apply.__name__.replace("_", "-"),
            cause=cause,
            title=title.rstrip("."),
            about=" ".join(about.split()),
            differs=differs,
            verify_code=code,
            reason=reason,
            alert=alert or _ALERTS[code],
            roles=roles,
            rfc=rfc,
            load_error=load_error,
            unless=unless,
            needs_root=prepare in BELOW_A_ROOT,
            prepare=prepare or issued_directly,
            apply=apply,
        )

    return make
