"""The collection: every exhibit, by name.

Most are the flaws of a server's certificate (`mtls_echo_pki.flaws`), whose titles and rules are
theirs. A table, ``exhibits.toml``, says where RFC 5280 or practice leaves a client the choice, and
what other names exhibits have.
"""

from __future__ import annotations

import ssl
from functools import partial
from importlib import resources

import msgspec

from mtls_echo.gallery import behaviours
from mtls_echo.gallery.exhibit import BOTH, Exhibit
from mtls_echo.gallery.page import show_exhibit
from mtls_echo_pki.flaws.registry import FLAWS
from mtls_echo_pki.lookup import look_up
from mtls_echo_tls.alerts import AlertDescription, alert_meaning

# X509_V_FLAG_NO_CHECK_TIME, for which `ssl` has no name.
_NO_CHECK_TIME = 0x200000

# The client's own mistake, which no server can make.
_NOT_A_SERVERS = frozenset({"empty-trust"})


class Remarks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said of exhibits in ``exhibits.toml``.

    Attributes:
        aliases: What badssl.com calls exhibits, for tests that were written for it.
        choices: The slugs of flaws that a client may accept, by why it may.
    """

    aliases: dict[str, list[str]]
    choices: dict[str, list[str]]


REMARKS = msgspec.toml.decode(
    resources.files("mtls_echo.gallery").joinpath("exhibits.toml").read_bytes(), type=Remarks
)

_CHOICES = {slug: why for why, slugs in REMARKS.choices.items() for slug in slugs}


def _certificates() -> list[Exhibit]:
    return [
        Exhibit(
            slug=flaw.slug,
            group="revocation" if "CRL" in flaw.differs else "certificate",
            title=flaw.title,
            rule=flaw.rfc,
            must="either" if flaw.slug in _CHOICES else "refuse",
            choice=_CHOICES.get(flaw.slug, ""),
            behave=show_exhibit,
            # Where the presenter gives up its client is not asked.
            versions=tuple(
                version
                for version in BOTH
                if (but := flaw.expected("server", version)) is None or not but.by_presenter
            ),
            prepare=flaw.prepare,
            flaw=flaw,
        )
        for flaw in FLAWS.values()
        if "server" in flaw.roles and flaw.slug not in _NOT_A_SERVERS
    ]


def _ask(mode: ssl.VerifyMode, context: ssl.SSLContext, *, flags: int = 0) -> None:
    context.verify_mode = mode
    context.verify_flags |= flags | ssl.VERIFY_X509_PARTIAL_CHAIN


def _only(version: ssl.TLSVersion, context: ssl.SSLContext) -> None:
    context.minimum_version = context.maximum_version = version


def _no_alpn(context: ssl.SSLContext) -> None:
    context.set_alpn_protocols([])


_protocol = partial(Exhibit, group="protocol", versions=("1.3",))
_works = partial(_protocol, must="work", behave=show_exhibit)
_fails = partial(_protocol, must="fail")
_client = partial(
    Exhibit,
    group="client certificate",
    must="work",
    rule="RFC 8446 §4.3.2",
    behave=show_exhibit,
)

_OTHERS = (
    _works(slug="tls1-2", title="The server speaks TLS 1.2 only", rule="RFC 5246",
           versions=("1.2",), configure=partial(_only, ssl.TLSVersion.TLSv1_2)),
    _works(slug="tls1-3", title="The server speaks TLS 1.3 only", rule="RFC 8446",
           configure=partial(_only, ssl.TLSVersion.TLSv1_3)),
    _works(slug="no-alpn", title="The server chooses no application protocol",
           rule="RFC 7301 §3.2", configure=_no_alpn),
    _works(slug="slow", title="The server sends 64 bytes at a time", rule="RFC 8446 §5.1",
           behave=behaviours.answer_slowly),
    _fails(slug="closes", title="The server closes the connection after the ClientHello",
           rule="RFC 8446 §6.1", behave=behaviours.close),
    _fails(slug="resets", title="The server resets the connection after the ClientHello",
           rule="RFC 9293 §3.5.3", behave=behaviours.reset),
    _fails(slug="silent", title="The server says nothing, and closes in the end",
           rule="RFC 8446 §6.1", behave=behaviours.stay_silent),
    _fails(slug="plaintext", title="The server answers in HTTP without TLS",
           rule="RFC 9110 §4.2.2", behave=behaviours.speak_plaintext),
    _fails(slug="truncates", title="The server ends in the middle of its answer, without"
           " close_notify", rule="RFC 8446 §6.1, RFC 9112 §8", versions=("1.2", "1.3"),
           behave=behaviours.cut_off),
    _client(slug="client-none", title="The server does not ask for a client's certificate",
            configure=None),
    _client(slug="client-optional", title="The server asks for a client's certificate, and takes"
            " none, too", configure=partial(_ask, ssl.CERT_OPTIONAL)),
    _client(slug="client-required", title="The server requires a client's certificate",
            configure=partial(_ask, ssl.CERT_REQUIRED), needs_client_certificate=True),
    _client(slug="client-expired-ok", title="The server requires a client's certificate, which may"
            " have expired", configure=partial(_ask, ssl.CERT_REQUIRED, flags=_NO_CHECK_TIME),
            needs_client_certificate=True),
)  # fmt: skip


def _alerts() -> list[Exhibit]:
    return [
        Exhibit(
            slug=f"alert-{alert.name.replace('_', '-')}",
            group="alert",
            title=f'The server sends the alert {alert.name}: "{alert_meaning(alert)}"',
            rule="RFC 8446 §6",
            must="fail",
            versions=("1.3",),
            behave=partial(behaviours.send_alert, alert),
        )
        for alert in AlertDescription
    ]


GOOD = Exhibit(
    slug="good",
    group="baseline",
    title="Nothing is wrong with the server",
    rule="RFC 8446, RFC 5280, RFC 9525",
    must="work",
    behave=show_exhibit,
)

EXHIBITS: dict[str, Exhibit] = {
    each.slug: each for each in (GOOD, *_certificates(), *_OTHERS, *_alerts())
}

# An unknown name shows the index, with a good certificate.
ALIASES = {alias: slug for slug, aliases in REMARKS.aliases.items() for alias in aliases}


def find_exhibit(slug: str) -> Exhibit:
    """Return the exhibit of that name.

    Raises:
        ValueError: There is none.
    """
    return look_up("exhibit", slug, EXHIBITS, "mtls-echo gallery --list")
