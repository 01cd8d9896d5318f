"""Identities: written as plain strings, and read from the certificates that present them.

A TLS peer is known by its *presented identifiers*, the entries of the ``subjectAltName``
extension, and by nothing else: RFC 9525 §2 leaves the subject's common name out of the
comparison. An identity is therefore written as a plain string and typed by its form, as the peer
will compare it:

==================== ================================= ======================
form                 example                           RFC 5280 §4.2.1.6
==================== ================================= ======================
``scheme://…``       ``spiffe://prod.test/payments``   uniformResourceIdentifier
``user@host``        ``alice@mail.test``               rfc822Name
an IP address        ``127.0.0.1``, ``::1``            iPAddress
anything else        ``a.test``, ``*.a.test``          dNSName (A-labels, RFC 5891)
==================== ================================= ======================

What looks like one form but is not valid in it (``300.1.1.1``, ``10.0.0.0/8``, ``*.test``) is
refused here, where the message can name it, rather than in a handshake, where OpenSSL would only
say that the names differ.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from cryptography import x509

from mtls_echo_pki.certificates.der import UnreadableError, elements, first
from mtls_echo_pki.certificates.outline import Attribute, DistinguishedName
from mtls_echo_pki.certificates.reading import (
    extension,
    is_unreadable,
    raw_extensions,
    subject_name,
    value_of,
)

ACCEPTED_IDENTITIES = (
    "a host (a.test, *.a.test), an IP address (127.0.0.1, ::1), "
    "an e-mail address (user@a.test) or a URI (spiffe://a.test/path)"
)

# Letters, digits, hyphen (RFC 1123 §2.1) and the underscore that container networks put
# into service names: OpenSSL and Java accept it, the verifier of cryptography does not.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

# The dot-atom of RFC 5322 §3.2.3: the only local part worth authenticating.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}")

# SPIFFE-ID §2: lower case trust domain, segments of unreserved characters.
_SPIFFE_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SPIFFE_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")


def general_name(identity: str) -> x509.GeneralName:
    """Type an identity by its form.

    Args:
        identity: See the module's table. Hosts may be in Unicode; they are encoded
            as A-labels.

    Raises:
        ValueError: If it has none of the accepted forms.
    """
    if "://" in identity:
        return x509.UniformResourceIdentifier(_uri(identity))
    if "@" in identity:
        local_part, _, host = identity.rpartition("@")
        atoms = local_part.split(".")
        if not _LOCAL_PART.fullmatch(local_part) or "" in atoms or host.startswith("*"):
            raise _nonsense(identity, "not an e-mail address")
        return x509.RFC822Name(f"{local_part}@{_host(identity, host)}")
    try:
        address = ipaddress.ip_address(identity)
    except ValueError:
        return x509.DNSName(_host(identity, identity))
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise _nonsense(identity, "a zone index means something on one machine only")
    return x509.IPAddress(address)


def is_address(name: str) -> bool:
    """Whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def identity_text(name: x509.GeneralName) -> str:
    """Return a presented identifier as the string :func:`general_name` would take.

    Of what it would not take: a name as RFC 4514 has it, an OID after ``RID:``, an otherName with
    its type.
    """
    match name:
        case x509.DirectoryName():
            return str(DistinguishedName.of(name.value))
        case x509.RegisteredID():
            return f"RID:{name.value.dotted_string}"
        case x509.OtherName():
            return f"{name.type_id.dotted_string}:{_other_text(name.value)}"
        case _:
            return str(name.value)


def _other_text(der: bytes) -> str:
    try:
        text = Attribute("", first(der)).text
    except UnreadableError:
        text = None
    return f"#{der.hex()}" if text is None else text


def _uri(identity: str) -> str:
    try:
        parts = urlsplit(identity)
    except ValueError:
        parts = None
    if (
        parts is None
        or not identity.isascii()
        or not identity.isprintable()
        or " " in identity
        or not parts.scheme
        or not parts.netloc
    ):
        raise _nonsense(identity, "not a URI with a scheme and a host, in ASCII")
    if is_spiffe(identity):
        domain, slash, path = identity.split("://", 1)[1].partition("/")
        segments = path.split("/")
        if (
            not identity.startswith("spiffe://")
            or not _SPIFFE_DOMAIN.fullmatch(domain)
            or not _SPIFFE_PATH.fullmatch(slash + path)
            or "." in segments
            or ".." in segments
        ):
            raise _nonsense(
                identity,
                "not a SPIFFE ID, which is spiffe://trust-domain/path with a lower case "
                "trust domain and nothing else",
            )
    return identity


def is_spiffe(uri: str) -> bool:
    """Return whether a URI has the scheme of SPIFFE IDs."""
    return uri.lower().startswith("spiffe:")


def _host(identity: str, host: str) -> str:
    wildcard, parent = ("*.", host[2:]) if host.startswith("*.") else ("", host)
    if not parent.isascii():
        import idna

        try:
            parent = idna.encode(parent, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise _nonsense(identity, str(error)) from error
    labels = parent.split(".")
    if len(wildcard + parent) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _nonsense(identity, "not a host name")
    if labels[-1].isdigit():
        # Browsers and most resolvers take such a name for an IPv4 address.
        raise _nonsense(identity, "ends in a number, but is not an IPv4 address")
    if wildcard and len(labels) < 2:
        # OpenSSL, like browsers, never matches a wildcard right below the top.
        raise _nonsense(identity, "a wildcard needs two labels after it")
    return wildcard + parent


def _nonsense(identity: str, reason: str) -> ValueError:
    return ValueError(f'"{identity}" is not an identity: {reason}; give {ACCEPTED_IDENTITIES}')


# --- in certificates -----------------------------------------------------------------------------


def presented_identifiers(certificate: x509.Certificate) -> list[str]:
    """Return the entries of subjectAltName as strings, none if there is none.

    Raises:
        UnreadableError: If it cannot be read.
    """
    names = extension(certificate, x509.SubjectAlternativeName)
    return [] if names is None else [identity_text(name) for name in names]


def subject_alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    """Return subjectAltName, without the entries that cannot be read; empty when absent."""
    names = value_of(certificate, x509.SubjectAlternativeName)
    if names is not None:
        return names
    return x509.SubjectAlternativeName(_readable_names(certificate))


def _readable_names(certificate: x509.Certificate) -> Iterator[x509.GeneralName]:
    oid = x509.SubjectAlternativeName.oid.dotted_string
    found = [raw for raw in raw_extensions(certificate) if raw.oid == oid]
    # OpenSSL takes none of two.
    for raw in found if len(found) == 1 else ():
        with suppress(UnreadableError):
            *_, value = elements(first(raw.der).contents)
            for name in elements(first(value.contents).contents):
                with suppress(ValueError):
                    match name.tag:
                        case 0x81:
                            yield x509.RFC822Name(name.contents.decode("ascii"))
                        case 0x82:
                            yield x509.DNSName(name.contents.decode("ascii"))
                        case 0x86:
                            yield x509.UniformResourceIdentifier(name.contents.decode("ascii"))
                        case 0x87:
                            yield x509.IPAddress(ipaddress.ip_address(name.contents))
                        case _:
                            pass  # of a type that names no peer


def has_unreadable_names(certificate: x509.Certificate) -> bool:
    """Return whether OpenSSL may see names in it that we cannot."""
    return is_unreadable(certificate, x509.SubjectAlternativeName)


def hosts(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names and IP addresses that a certificate presents."""
    names = subject_alternative_names(certificate)
    addresses = names.get_values_for_type(x509.IPAddress)
    return names.get_values_for_type(x509.DNSName) + [str(address) for address in addresses]


def names_host(certificate: x509.Certificate, reference: str) -> bool:
    """Return whether a presented identifier matches the reference identifier (RFC 9525 §6.3).

    For diagnosis only: whether to go on is OpenSSL's decision, and was made already. An address
    is named by an iPAddress entry and nothing else; a wildcard stands for the whole leftmost
    label of a host name.
    """
    names = subject_alternative_names(certificate)
    try:
        address = ipaddress.ip_address(reference)
    except ValueError:
        wanted = reference.lower().rstrip(".")
        _, _, parent = wanted.partition(".")
        presented = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
        # OpenSSL wants a wildcard to have two labels behind it.
        return wanted in presented or ("." in parent and f"*.{parent}" in presented)
    return address in names.get_values_for_type(x509.IPAddress)


def reference_for(certificate: x509.Certificate) -> str | None:
    """Return a reference identifier that a certificate matches; None if it names no host."""
    for name in presented_identifiers(certificate):
        if "@" not in name and "://" not in name:
            return name.replace("*", "any", 1)
    return None


def subject_of(certificate: x509.Certificate) -> str:
    """Return the subject of a certificate; its presented identifiers, if the subject is empty."""
    names = subject_alternative_names(certificate)
    return str(subject_name(certificate)) or ", ".join(map(identity_text, names))
