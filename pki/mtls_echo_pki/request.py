"""A request is everything that gets signed, except the key.

It is pure data: what a certificate shall say, before anybody has said it. Making
one costs nothing and touches no key, so a request can be compared, altered with
:func:`dataclasses.replace` and handed to several authorities.

A TLS peer is known by its *presented identifiers*, the entries of the
``subjectAltName`` extension, and by nothing else: RFC 9525 §2 leaves the subject's
common name out of the comparison. An identity is therefore written as a plain
string and typed by its form, as the peer will compare it:

==================== ================================= ======================
form                 example                           RFC 5280 §4.2.1.6
==================== ================================= ======================
``scheme://…``       ``spiffe://prod.test/payments``   uniformResourceIdentifier
``user@host``        ``alice@mail.test``               rfc822Name
an IP address        ``127.0.0.1``, ``::1``            iPAddress
anything else        ``a.test``, ``*.a.test``          dNSName (A-labels, RFC 5891)
==================== ================================= ======================

What looks like one form but is not valid in it (``300.1.1.1``, ``10.0.0.0/8``,
``*.test``) is refused here, where the message can name it, rather than in a
handshake, where OpenSSL would only say that the names differ.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import idna
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

if TYPE_CHECKING:
    from mtls_echo_pki.credential import PrivateKey

# Long enough for a week of holidays, short enough that renewal is practised.
DEFAULT_LIFETIME = timedelta(days=30)

# Clocks of two machines differ: a certificate that starts "now" is not yet valid
# for a peer whose clock is a little behind.
DEFAULT_BACKDATE = timedelta(minutes=5)

ACCEPTED_IDENTITIES = (
    "a host (a.test, *.a.test), an IP address (127.0.0.1, ::1), "
    "an e-mail address (user@a.test) or a URI (spiffe://a.test/path)"
)

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_UNIT_NAMES = {"d": "day", "h": "hour", "m": "minute", "s": "second"}

# Far below datetime's year 9999, far above what any certificate should last.
MAX_LIFETIME = timedelta(days=36500)

# Letters, digits, hyphen (RFC 1123 §2.1) and the underscore that container networks put
# into service names: OpenSSL and Java accept it, the verifier of cryptography does not.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

# The dot-atom of RFC 5322 §3.2.3: the only local part worth authenticating.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}")

# SPIFFE-ID §2: lower case trust domain, segments of unreserved characters.
_SPIFFE_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SPIFFE_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")


class Usage(enum.Enum):
    """What a certificate may be used for, exactly one thing.

    A certificate good for both ends would let the key of any server log in as a
    client: each end-entity certificate carries one extendedKeyUsage only.
    """

    SERVER = "server"
    CLIENT = "client"
    AUTHORITY = "authority"


class KeyType(enum.Enum):
    """The kinds of key the package makes.

    P-256 is the default: every TLS stack has it, and generating an RSA-2048 key
    takes some hundred times longer. Browsers do not take Ed25519.
    """

    P256 = "p256"
    P384 = "p384"
    ED25519 = "ed25519"
    RSA2048 = "rsa2048"

    def generate(self) -> PrivateKey:
        """Make a new private key of this type."""
        match self:
            case KeyType.P256:
                return ec.generate_private_key(ec.SECP256R1())
            case KeyType.P384:
                return ec.generate_private_key(ec.SECP384R1())
            case KeyType.ED25519:
                return ed25519.Ed25519PrivateKey.generate()
            case KeyType.RSA2048:
                return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @classmethod
    def of(cls, key: object) -> KeyType:
        """Return the type of a public or private key.

        Raises:
            ValueError: If it is of a type that is not made here.
        """
        match key:
            case ec.EllipticCurvePublicKey() | ec.EllipticCurvePrivateKey():
                found = {"secp256r1": cls.P256, "secp384r1": cls.P384}.get(key.curve.name)
            case ed25519.Ed25519PublicKey() | ed25519.Ed25519PrivateKey():
                found = cls.ED25519
            case rsa.RSAPublicKey() | rsa.RSAPrivateKey() if key.key_size == 2048:
                found = cls.RSA2048
            case _:
                found = None
        if found is None:
            raise ValueError("its key is of a type that is not made here")
        return found


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a certificate shall say.

    Args:
        names: Identities, typed by their form (see the module's table); they become
            the subjectAltName. An authority has none.
        subject: Common name, for people to read; no peer compares it. When empty,
            subjectAltName is the only name and therefore critical (RFC 5280
            §4.2.1.6).
        usage: The certificate's one purpose.
        lifetime: From now to notAfter. Negative for a certificate that has already
            expired, when ``backdate`` reaches further back still.
        backdate: From notBefore to now. Negative for a certificate that is not yet
            valid.
        key_type: The key to make for it.

    Raises:
        ValueError: If an identity has none of the accepted forms, an end-entity has
            no name (nobody could be authenticated by it), an authority has no
            subject, or the certificate would end before it begins.
    """

    names: tuple[str, ...] = ()
    subject: str = ""
    usage: Usage = Usage.SERVER
    lifetime: timedelta = DEFAULT_LIFETIME
    backdate: timedelta = DEFAULT_BACKDATE
    key_type: KeyType = KeyType.P256

    def __post_init__(self) -> None:
        if self.lifetime + self.backdate <= timedelta(0):
            raise ValueError(
                f"a lifetime of {self.lifetime} with a backdate of {self.backdate} "
                "ends before it begins"
            )
        if self.usage is Usage.AUTHORITY:
            if not self.subject or self.names:
                raise ValueError("an authority has a subject and no other names")
            return
        if not self.names:
            raise ValueError(
                f"a {self.usage.value} certificate without a name authenticates nobody; "
                f"give {ACCEPTED_IDENTITIES}"
            )
        uris = [name for name in self.names if "://" in name]
        if len(uris) > 1 and any(_is_spiffe(uri) for uri in uris):
            raise ValueError("a SPIFFE identity must be the certificate's only URI (X509-SVID §2)")
        self.subject_alternative_names()

    def subject_alternative_names(self) -> x509.SubjectAlternativeName:
        """Return the presented identifiers, each as the type of name its form shows."""
        return x509.SubjectAlternativeName([general_name(name) for name in self.names])


def server(
    *names: str,
    subject: str = "",
    lifetime: timedelta = DEFAULT_LIFETIME,
    backdate: timedelta = DEFAULT_BACKDATE,
    key_type: KeyType = KeyType.P256,
) -> Request:
    """Ask for a server certificate for ``names``; see :class:`Request`."""
    return Request(
        names=names,
        subject=subject,
        usage=Usage.SERVER,
        lifetime=lifetime,
        backdate=backdate,
        key_type=key_type,
    )


def client(
    *names: str,
    subject: str = "",
    lifetime: timedelta = DEFAULT_LIFETIME,
    backdate: timedelta = DEFAULT_BACKDATE,
    key_type: KeyType = KeyType.P256,
) -> Request:
    """Ask for a client certificate for ``names``; see :class:`Request`."""
    return Request(
        names=names,
        subject=subject,
        usage=Usage.CLIENT,
        lifetime=lifetime,
        backdate=backdate,
        key_type=key_type,
    )


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


def identity_text(name: x509.GeneralName) -> str:
    """Return a presented identifier as the string :func:`general_name` would take."""
    return str(name.value)


def parse_lifetime(text: str) -> timedelta:
    """Read a lifetime such as ``60s``, ``10m``, ``12h`` or ``30d``.

    Raises:
        ValueError: If it is not a positive whole number and one of these units, or
            is longer than a hundred years.
    """
    match = re.fullmatch(r"([0-9]{1,12})([smhd])", text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f'"{text}" is not a lifetime; write 60s, 10m, 12h or 30d')
    if int(match[1]) > MAX_LIFETIME // _UNITS[match[2]]:
        raise ValueError(f'"{text}" is longer than a hundred years')
    return int(match[1]) * _UNITS[match[2]]


def describe_lifetime(lifetime: timedelta) -> str:
    """Return a duration in words, rounded down to the unit a person would use.

    Ninety minutes stay "90 minutes" and a whole day is "1 day": a unit is used when
    nothing of the duration is lost in it, or when it fits at least twice.
    """
    lifetime = max(lifetime, timedelta(0))
    unit = next(
        (unit for unit in _UNITS if _is_exact(lifetime, _UNITS[unit])),
        "s",
    )
    count = lifetime // _UNITS[unit]
    return f"{count} {_UNIT_NAMES[unit]}{'' if count == 1 else 's'}"


def _is_exact(lifetime: timedelta, unit: timedelta) -> bool:
    return lifetime >= 2 * unit or lifetime == unit


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
    if _is_spiffe(identity):
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


def _is_spiffe(uri: str) -> bool:
    return uri.lower().startswith("spiffe:")


def _host(identity: str, host: str) -> str:
    wildcard, parent = ("*.", host[2:]) if host.startswith("*.") else ("", host)
    if not parent.isascii():
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
    return ValueError(f'"{identity}" is no identity: {reason}; give {ACCEPTED_IDENTITIES}')
