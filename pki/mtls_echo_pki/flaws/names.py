"""Flaws of names: the certificate is valid, but not for the name that was asked for.

A client compares the name that it asked for with the entries of subjectAltName, each with those of
its own type, and with nothing else (RFC 9525 §6). A server does not ask for its clients by name,
so these are flaws of servers only; the last is of the form, and concerns both.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from functools import partial

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.identifiers import is_address
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.flaws.baseline import (
    Baseline,
    ValidationInput,
    issued_directly,
    with_extension,
    without_extension,
)
from mtls_echo_pki.flaws.flaw import SERVER_ONLY, flaw


def named(baseline: Baseline, *names: x509.GeneralName) -> ValidationInput:
    """Return the input with other presented identifiers."""
    return baseline.with_certificate(
        lambda tbs: with_extension(tbs, x509.SubjectAlternativeName(names))
    )


def with_host_as_subject(authority: Authority, request: Request) -> Baseline:
    """Have the host's name as common name too, where it was before subjectAltName."""
    return issued_directly(authority, replace(request, subject=_host_of(request)))


def without_subject(authority: Authority, request: Request) -> Baseline:
    """Leave the subject empty, so that subjectAltName is all there is."""
    return issued_directly(authority, replace(request, subject=""))


def asked_for_by_address(authority: Authority, request: Request) -> Baseline:
    """Let the client connect to an IP address."""
    baseline = issued_directly(authority, request)
    address = next((name for name in request.names if is_address(name)), None)
    if address is None:
        raise ValueError("this flaw is about IP addresses; give one as identity, 127.0.0.1 say")
    return replace(baseline, inputs=replace(baseline.inputs, reference=address))


def asked_for_by_host(authority: Authority, request: Request) -> Baseline:
    """Let the client connect to a host's name."""
    host = _host_of(request)
    baseline = issued_directly(authority, request)
    return replace(baseline, inputs=replace(baseline.inputs, reference=host))


def _host_of(request: Request) -> str:
    san = request.subject_alternative_names()
    for host in san.get_values_for_type(x509.DNSName):
        if not host.startswith("*"):
            return host
    raise ValueError("this flaw is about host names; give one as identity, localhost say")


_flaw_of_host = partial(flaw, roles=SERVER_ONLY, prepare=asked_for_by_host)


@_flaw_of_host("wrong-name", "end-entity: subjectAltName", 62, "RFC 9525 §6")
def wrong_name(baseline: Baseline) -> ValidationInput:
    """The certificate names another host than the one that is asked for."""
    return named(baseline, x509.DNSName("elsewhere.invalid"))


@_flaw_of_host("wrong-name", "end-entity: subjectAltName", 62, "RFC 9525 §6.3")
def wrong_name_wildcard(baseline: Baseline) -> ValidationInput:
    """The wildcard covers the names below the host, but not the host itself.

    The asterisk matches exactly one label: ``*.a.test`` is not ``a.test``.
    """
    return named(baseline, x509.DNSName(f"*.{baseline.inputs.reference}"))


@_flaw_of_host("wrong-name", "end-entity: subjectAltName", 62, "RFC 9525 §6.3")
def wrong_name_partial_wildcard(baseline: Baseline) -> ValidationInput:
    """The wildcard stands for a part of a label, which is not allowed any more."""
    label, *parents = baseline.inputs.reference.split(".")
    return named(baseline, x509.DNSName(".".join((f"{label[:1]}*", *parents))))


@flaw(
    "wrong-name",
    "end-entity: subjectAltName",
    64,
    "RFC 9525 §6.4",
    roles=SERVER_ONLY,
    prepare=asked_for_by_address,
)
def wrong_name_address_as_host(baseline: Baseline) -> ValidationInput:
    """The IP address is written as a host's name (dNSName) and not as an address (iPAddress)."""
    names = baseline.request.subject_alternative_names()
    return named(
        baseline,
        *(
            x509.DNSName(str(name.value)) if isinstance(name, x509.IPAddress) else name
            for name in names
        ),
    )


@_flaw_of_host("wrong-name", "end-entity: subjectAltName", 62, "RFC 9525 §6.3")
def wrong_name_trailing_dot(baseline: Baseline) -> ValidationInput:
    """The host's name ends with a dot in the certificate, as in a DNS zone file."""
    return named(baseline, x509.DNSName(f"{baseline.inputs.reference}."))


@_flaw_of_host("wrong-name", "end-entity: subjectAltName", 62, "RFC 9525 §6.4")
def wrong_name_only_address(baseline: Baseline) -> ValidationInput:
    """The certificate names the host's IP address only, and a client asks for its name."""
    return named(baseline, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


@flaw(
    "no-san",
    "end-entity: subjectAltName",
    62,
    "RFC 9525 §2",
    roles=SERVER_ONLY,
    prepare=with_host_as_subject,
)
def no_san(baseline: Baseline) -> ValidationInput:
    """The host's name is in the common name only, which verifiers no longer read (RFC 9525).

    Python's ``ssl`` still does, until ``hostname_checks_common_name`` is False.
    """
    return baseline.with_certificate(
        lambda tbs: without_extension(tbs, ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    )


@flaw(
    "not-conforming",
    "end-entity: subjectAltName",
    88,
    "RFC 5280 §4.2.1.6",
    prepare=without_subject,
)
def not_conforming_empty_subject(baseline: Baseline) -> ValidationInput:
    """The subject is empty, and subjectAltName, which then is all there is, not critical."""
    names = baseline.request.subject_alternative_names()
    return baseline.with_certificate(lambda tbs: with_extension(tbs, names, critical=False))
