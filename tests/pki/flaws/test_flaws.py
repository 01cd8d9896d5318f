"""Every entry of the registry: one difference, and the verdict that it promises."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.flaws.baseline import Baseline, ValidationInput, with_extension
from mtls_echo_pki.flaws.flaw import Flaw, FlawRole, TLSVersion
from mtls_echo_pki.flaws.keys import StolenCertificate
from mtls_echo_pki.flaws.registry import FLAWS, find_flaw
from mtls_echo_tls.causes import CAUSES
from tests.pki.flaws.input_differences import differences, offence
from tests.support.flaws import REQUESTS, TLS_VERSIONS, load_error, meet_verifier

each_flaw = pytest.mark.parametrize(
    ("flaw", "role"),
    [
        pytest.param(flaw, role, id=f"{slug}-{role}")
        for slug, flaw in FLAWS.items()
        for role in flaw.roles
    ],
)


@each_flaw
def test_a_flaw_is_one_difference_from_the_baseline(flaw: Flaw, role: FlawRole) -> None:
    assert offence(flaw, *flaw.pair(Authority.root(), REQUESTS[role])) is None


@each_flaw
@pytest.mark.parametrize("tls", TLS_VERSIONS)
async def test_a_flaw_gets_the_verdict_and_the_alert_that_it_promises(
    flaw: Flaw, role: FlawRole, tls: TLSVersion
) -> None:
    inputs = flaw.build(Authority.root(), REQUESTS[role])

    met = await meet_verifier(inputs, role, tls)

    verifier, presenter, reason = met.verifier, met.presenter, met.verifier_reason
    exception = flaw.expected(role, tls)
    refuser = "client" if role == "server" else "server"
    if exception is not None and exception.by_presenter:
        verifier, presenter, refuser, reason = presenter, verifier, role, met.presenter_reason
    assert verifier.rejected_by == presenter.rejected_by == refuser
    assert verifier.verify_code == (None if exception else flaw.verify_code)
    assert reason == (exception.reason if exception else flaw.reason)
    assert verifier.alert is not None
    assert presenter.alert is not None
    alert = exception.alert if exception else flaw.alert
    assert (verifier.alert.name, verifier.alert.direction) == (alert, "sent")
    assert (presenter.alert.name, presenter.alert.direction) == (alert, "received")


@each_flaw
async def test_the_baseline_is_accepted(flaw: Flaw, role: FlawRole) -> None:
    baseline, _ = flaw.pair(Authority.root(), REQUESTS[role])

    met = await meet_verifier(baseline, role, "1.3")

    assert (met.verifier.outcome, met.presenter.outcome) == ("echoed", "echoed")


@each_flaw
def test_a_flawed_credential_loads_unless_it_says_why_not(flaw: Flaw, role: FlawRole) -> None:
    inputs = flaw.build(Authority.root(), REQUESTS[role])

    # 3.5 and 3.6 load a certificate that was signed over SHA-1, and leave it to the verifier.
    loads = flaw.load_error == "CA_MD_TOO_WEAK" and ssl.OPENSSL_VERSION_INFO >= (3, 5)
    assert load_error(inputs.credential) == (None if loads else flaw.load_error)


def test_a_slug_begins_with_its_cause_and_the_cause_is_in_the_catalogue() -> None:
    for slug, flaw in FLAWS.items():
        assert slug == flaw.slug
        assert slug == flaw.cause or slug.startswith(f"{flaw.cause}-")
        assert flaw.cause in CAUSES
        assert re.fullmatch("[a-z0-9-]+", slug)


def test_every_cause_that_lies_in_a_credential_has_a_flaw() -> None:
    not_in_credentials = {
        *("no-client-certificate", "no-server-certificate", "clock-skew", "unrecognised-name"),
        *("no-common-version", "no-common-cipher", "no-common-group", "no-common-alpn"),
        *("no-common-signature-algorithm", "plaintext-peer", "plaintext-client", "tampered"),
        *("downgrade", "truncated", "reset", "closed-without-alert", "timeout"),
        *("not-authorised", "no-connection", "altered-echo", "internal-error", "renegotiation"),
        *("other-protocol", "error-answer"),
        "protocol-violation",
    }

    assert {flaw.cause for flaw in FLAWS.values()} >= CAUSES.keys() - not_in_credentials


def test_every_flaw_is_described_in_one_sentence() -> None:
    titles = [flaw.title for flaw in FLAWS.values()]

    assert len({*titles}) == len(titles)
    for flaw in FLAWS.values():
        assert flaw.title[0].isupper()
        assert len(flaw.title) < 100
        assert "\n" not in flaw.title
        assert flaw.rfc.startswith("RFC ")


# Every other test has P-256; RSA keys take long to make, so only where the key has a part in it.
OTHER_KEYS = [(slug, key) for slug in FLAWS for key in (KeyType.P384, KeyType.ED25519)]
OTHER_KEYS += [(slug, KeyType.RSA2048) for slug in ("self-signed", "weak-key", "key-not-owned")]


@pytest.mark.parametrize(("slug", "key_type"), OTHER_KEYS)
def test_a_flaw_works_with_every_type_of_key_or_says_why_not(slug: str, key_type: KeyType) -> None:
    flaw = FLAWS[slug]
    request = replace(REQUESTS[flaw.roles[0]], key_type=key_type)

    if slug == "key-not-owned" and key_type in (KeyType.ED25519, KeyType.RSA2048):
        with pytest.raises(ValueError, match="choose p256 or p384"):
            flaw.build(Authority.root(), request)
    else:
        assert offence(flaw, *flaw.pair(Authority.root(), request)) is None


@pytest.mark.parametrize("slug", ["bad-signature", "weak-signature"])
def test_a_flaw_of_a_signature_works_with_cas_of_rsa(slug: str) -> None:
    root = Authority.root(key_type=KeyType.RSA2048)

    assert offence(FLAWS[slug], *FLAWS[slug].pair(root, REQUESTS["client"])) is None


@pytest.mark.parametrize(
    "request_",
    [
        Request.client("10.0.0.7"),
        Request.client("2001:db8::7"),
        Request.client("alice@mail.test"),
        Request.client("spiffe://td.test/a"),
        Request.server("*.a.test"),
    ],
    ids=lambda request: request.names[0],
)
@pytest.mark.parametrize("slug", ["name-not-permitted", "name-not-permitted-excluded"])
async def test_names_of_every_type_can_be_forbidden(slug: str, request_: Request) -> None:
    role: FlawRole = "server" if request_.usage.value == "server" else "client"
    flaw = FLAWS[slug]

    met = await meet_verifier(flaw.build(Authority.root(), request_), role, "1.3")

    assert met.verifier.verify_code == flaw.verify_code


@pytest.mark.parametrize(
    ("slug", "request_", "message"),
    [
        ("wrong-name", Request.client("a.test"), "concerns server certificates only"),
        ("wrong-name", Request.server("10.0.0.7"), "give one as identity, localhost say"),
        (
            "wrong-name-address-as-host",
            Request.server("a.test"),
            "give one as identity, 127.0.0.1 say",
        ),
        ("expired", Request.server("spiffe://td.test/a"), "give a host or an address"),
    ],
)
def test_a_flaw_that_makes_no_sense_for_a_request_says_what_would(
    slug: str, request_: Request, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FLAWS[slug].build(Authority.root(), request_)


def test_a_flaw_of_an_intermediate_needs_a_root() -> None:
    issuing = Authority.root().intermediate()

    FLAWS["expired"].build(issuing, REQUESTS["client"])
    with pytest.raises(ValueError, match="only a root can make one"):
        FLAWS["expired-authority"].build(issuing, REQUESTS["client"])


def test_a_misspelt_slug_is_answered_with_the_nearest() -> None:
    assert find_flaw("expired").slug == "expired"
    with pytest.raises(ValueError, match="did you mean expired"):
        find_flaw("expierd")


# --- the comparison itself can fail --------------------------------------------------------------

NOT_AFTER = timedelta(days=1)
FIXED = datetime(2030, 1, 1, tzinfo=UTC)


def resigned(inputs: ValidationInput, baseline: Baseline, **changes: object) -> ValidationInput:
    """The input whose end-entity certificate was altered once more."""
    tbs = TBSCertificate.of(inputs.credential.certificate)
    altered = replace(tbs, **changes)  # type: ignore[arg-type]  # fields of a TBSCertificate
    return inputs.but(certificate=baseline.issuer.certify(altered))


def extended(
    inputs: ValidationInput, baseline: Baseline, value: x509.ExtensionType, **kw: bool
) -> ValidationInput:
    tbs = with_extension(TBSCertificate.of(inputs.credential.certificate), value, **kw)
    return inputs.but(certificate=baseline.issuer.certify(tbs))


def anew(inputs: ValidationInput, baseline: Baseline) -> ValidationInput:
    """The same request issued once more: other key, other serial number."""
    return replace(inputs, credential=baseline.issuer.issue(baseline.request))


def stolen(inputs: ValidationInput, _: Baseline) -> ValidationInput:
    credential = inputs.credential
    assert isinstance(credential.key, ec.EllipticCurvePrivateKey)
    foreign = ec.generate_private_key(ec.SECP256R1())
    return replace(
        inputs,
        credential=StolenCertificate(
            credential.key,
            credential.certificate,
            credential.chain,
            own=credential.key,
            foreign=foreign,
        ),
    )


MORE: dict[str, Callable[[ValidationInput, Baseline], ValidationInput]] = {
    "serial number": lambda e, s: resigned(e, s, serial_number=7),
    "subject": lambda e, s: resigned(e, s, subject=x509.Name([])),
    "issuer's name": lambda e, s: resigned(e, s, issuer=x509.Name([])),
    "notAfter": lambda e, s: resigned(
        e, s, not_after=e.credential.certificate.not_valid_after_utc + NOT_AFTER
    ),
    "one more name": lambda e, s: extended(
        e, s, x509.SubjectAlternativeName([x509.DNSName("b.test")])
    ),
    "criticality": lambda e, s: extended(
        e, s, x509.BasicConstraints(ca=False, path_length=None), critical=False
    ),
    "one more extension": lambda e, s: extended(e, s, x509.OCSPNoCheck()),
    "subject key identifier": lambda e, s: extended(e, s, x509.SubjectKeyIdentifier(b"x")),
    "authority key identifier": lambda e, s: extended(
        e, s, x509.AuthorityKeyIdentifier(b"x", None, None)
    ),
    "key": anew,
    "private key": stolen,
    "one more certificate": lambda e, s: e.but(
        chain=(*e.credential.chain, Authority.root().certificate)
    ),
    "one certificate less": lambda e, _: e.but(chain=()),
    "one more anchor": lambda e, _: e.but(trust=e.trust | Authority.root().trust),
    "one more list": lambda e, _: e.but(
        trust=replace(e.trust, crls=(*e.trust.crls, Authority.root("other").crl()))
    ),
    "no lists": lambda e, _: e.but(trust=Trust(e.trust.anchors)),
    "reference identifier": lambda e, _: replace(e, reference="other.test"),
}


def also(flaw: Flaw, more: Callable[[ValidationInput, Baseline], ValidationInput]) -> Flaw:
    """A mutant: the flaw, and one thing more."""
    return replace(flaw, apply=lambda baseline: more(flaw.apply(baseline), baseline))


@pytest.mark.parametrize("slug", ["crl-expired", "revoked"])
@pytest.mark.parametrize("more", MORE)
def test_a_flaw_with_two_differences_is_found_out(slug: str, more: str) -> None:
    mutant = also(FLAWS[slug], MORE[more])

    assert offence(FLAWS[slug], *mutant.pair(Authority.root(), REQUESTS["server"])) is not None


def test_a_flaw_without_any_difference_is_found_out() -> None:
    for flaw in FLAWS.values():
        mutant = replace(flaw, apply=lambda baseline: baseline.inputs)

        assert offence(flaw, *mutant.pair(Authority.root(), REQUESTS[flaw.roles[0]])) is not None


def test_a_flaw_that_differs_in_something_else_than_it_promises_is_found_out() -> None:
    for flaw in FLAWS.values():
        mutant = replace(flaw, differs="end-entity: colour")

        assert offence(mutant, *flaw.pair(Authority.root(), REQUESTS[flaw.roles[0]])) is not None


def test_what_was_issued_twice_differs_in_key_and_serial_number_only() -> None:
    root = Authority.root(clock=lambda: FIXED)
    one, other = (root.issue(REQUESTS["server"]) for _ in range(2))

    found = differences(*(ValidationInput(each, root.trust, "localhost") for each in (one, other)))

    assert found == {"end-entity: key", "end-entity: serial number"}
