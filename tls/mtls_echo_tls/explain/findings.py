"""What a recognised text proves: an alert received or sent, a verdict, a reason, an ending.

A `Finding` maps onto the same tables as a diagnosis, so that nothing is explained twice. The
functions below make one of a number, a name or a code as some program prints it; None where that
is not an alert or verdict at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.diagnosis.tables import CAUSES_BY_ALERT, CAUSES_BY_VERIFY_CODE
from mtls_echo_tls.explain.phrases import ALERT_WORDS, Kind, Refused
from mtls_echo_tls.reasons import CAUSES_BY_REASON
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Slug, Slugs, drop


@dataclass(frozen=True, slots=True)
class Finding:
    """What a text proves.

    Attributes:
        kind: What sort of fact it is.
        refused: Who refused whom, seen from the program that printed the text.
        program: Whose words these are.
        words: The part of the text that was recognised.
        side: Which side prints this; None when either may.
        alert: The alert that the text names.
        verify_code: OpenSSL's verdict that the text names.
        reason: OpenSSL's reason symbol that the text names.
        stated: The causes that the words themselves state; else the tables give the family.
        decides: What would decide, where the words leave something open.
        meaning: What the words mean, where a table says it.
    """

    kind: Kind
    refused: Refused
    program: str = "OpenSSL"
    words: str = ""
    side: Side | None = None
    alert: int | None = None
    verify_code: int | None = None
    reason: str | None = None
    stated: Slugs = ()
    decides: str = ""
    meaning: str = ""

    def rejected_by(self, side: Side | None) -> Side | None:
        """The side that refused, if the text was printed by ``side``; None when it says not."""
        if self.refused in ("client", "server"):
            return self.refused
        if side is None or self.refused not in ("printer", "peer"):
            return None
        return side if self.refused == "printer" else peer_of(side)

    def causes(self, side: Side | None) -> Slugs:
        """Slugs, most likely first, for a text printed by ``side``."""
        if self.stated or self.kind in ("file", "vague"):
            slugs = self.stated
        elif self.verify_code is not None:
            code = _SAME_VERDICT.get(self.verify_code, self.verify_code)
            slugs = CAUSES_BY_VERIFY_CODE.get(code, ())
        elif self.reason is not None:
            slugs = _WORDS_ALONE.get(self.reason) or CAUSES_BY_REASON.get(self.reason, ())
        elif self.alert is not None:
            slugs = (*_OTHER_STACKS.get(self.alert, ()), *CAUSES_BY_ALERT.get(self.alert, ()))
        else:
            slugs = ()
        rejected_by = self.rejected_by(side)
        wrong = _NEVER_OF[peer_of(rejected_by)] if rejected_by is not None else frozenset[Slug]()
        slugs = tuple(dict.fromkeys(drop(slugs, wrong))) or slugs
        if side is not None and "plaintext-peer" in slugs:
            # The same words at a server are about a client that did not speak TLS.
            one: Slug = _PLAINTEXT[side]
            here: list[Slug] = [one if slug in _NOT_TLS else slug for slug in slugs]
            slugs = tuple(dict.fromkeys(here))
        return slugs or (() if self.kind in ("file", "vague") else ("internal-error",))


_PLAINTEXT: dict[Side, Slug] = {"client": "plaintext-peer", "server": "plaintext-client"}

_NOT_TLS = frozenset({"plaintext-peer", "plaintext-client"})

# Faults that cannot be this side's: a client's certificate is not checked for a host's name.
_NEVER_OF: dict[Side, frozenset[Slug]] = {
    "client": frozenset({"wrong-name", "no-san", "no-server-certificate"}),
    "server": frozenset({"no-client-certificate"}),
}

# 63 (e-mail mismatch) is 62 for another kind of name.
_SAME_VERDICT = {63: 62}

# What `diagnosis` can tell from the first bytes received, words alone cannot: mostly this is HTTP.
_WORDS_ALONE: dict[str, Slugs] = {
    "WRONG_VERSION_NUMBER": ("plaintext-peer",),
    "NO_SUITABLE_SIGNATURE_ALGORITHM": ("no-common-signature-algorithm",),
}

# What stacks other than OpenSSL mean by an alert (measured: Go 1.19, Java 17, GnuTLS 3.7), and
# what a handshake failure can be where it is not known how far the handshake had come.
_OTHER_STACKS: dict[int, Slugs] = {
    A.bad_certificate: ("wrong-name", "no-client-certificate", "unknown-authority", "expired"),
    A.certificate_unknown: ("unknown-authority", "expired", "wrong-name", "wrong-usage"),
    A.access_denied: ("not-authorised", "unknown-authority", "expired"),
    A.handshake_failure: (
        "no-client-certificate",
        "no-common-cipher",
        "no-common-group",
        "no-common-signature-algorithm",
        "no-server-certificate",
    ),
}
_DECIDES = {
    A.bad_certificate: "which stack sent it: Go sends it for every fault of a client certificate,"
    " a missing one included; OpenSSL for names, dates to come and weak keys",
    A.certificate_unknown: "which stack sent it: Java sends it for every fault of a certificate",
    A.access_denied: "which stack sent it: GnuTLS's server sends it for every bad certificate",
    A.handshake_failure: "when it came: right after ClientHello there is nothing in common; after"
    " the client's Certificate (TLS 1.2) it is about that certificate, or that there was none",
    A.certificate_required: "whether the client has a certificate at all: some (Go, Java, GnuTLS)"
    " send none when theirs is not from a CA that the server named",
}

# Alerts that only a server sends, so that the receiver of one is a client.
_SERVERS_ONLY = {
    A.certificate_required, A.unrecognized_name, A.no_application_protocol,
    A.inappropriate_fallback, A.unknown_psk_identity,
}  # fmt: skip
_SERVERS_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE", "NO_SHARED_CIPHER", "NO_SUITABLE_KEY_SHARE",
    "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "NO_APPLICATION_PROTOCOL",
}  # fmt: skip

_BY_NAME = {a.name.replace("_", ""): a.value for a in A if a is not A.close_notify} | ALERT_WORDS


def alert_named(name: str) -> int | None:
    """The code of an alert by any stack's name for it, whatever words follow that name."""
    words = re.split(r"[ _-]+", name.strip().lower())
    names = ("".join(words[:last]) for last in range(len(words), 0, -1))
    return next((_BY_NAME[each] for each in names if each in _BY_NAME), None)


def alert_received(code: int | None, refused: Refused = "peer") -> Finding | None:
    """An alert from the peer; close_notify and its like refuse nothing."""
    if code is None or code not in set(A) - {A.close_notify, A.user_canceled}:
        return None
    side: Side | None = "client" if code in _SERVERS_ONLY else None
    decides = _DECIDES.get(A(code), "")
    return Finding("alert received", refused, side=side, alert=code, decides=decides)


def alert_sent(code: int | None) -> Finding | None:
    """The program itself refused, with this alert."""
    finding = alert_received(code)
    if finding is None:
        return None
    side: Side | None = "server" if code in _SERVERS_ONLY else None
    return replace(finding, kind="alert sent", refused="printer", side=side)


def own_verdict(code: int) -> Finding | None:
    """The program's own verdict on a certificate (OpenSSL's verify code)."""
    if code == 0:  # "Verify return code: 0 (ok)"
        return None
    side: Side | None = "client" if code in (62, 64) else None
    return Finding("verdict", "printer", verify_code=code, side=side)


def packed_error(text: str) -> Finding | None:
    """OpenSSL's number: library and reason in one word, alerts from 1000 (``SSL_AD_...``)."""
    packed = int(text, 16)
    library, reason = packed >> 24, packed & 0xFFF  # 0x0A and 0x14 are OpenSSL's, 0x10 BoringSSL's
    return (
        alert_received(reason - 1000) if library in (0x0A, 0x14, 0x10) and reason > 1000 else None
    )


def own_reason(words: str) -> Finding:
    """The program's own error, by OpenSSL's reason."""
    symbol = words.upper().replace(" ", "_")
    side: Side | None = None
    if symbol in _SERVERS_REASONS:
        side = "server"
    refused: Refused = "nobody" if symbol.startswith(("HTTP", "WRONG_VERSION")) else "printer"
    return Finding("reason", refused, side=side, reason=symbol)


def request_too_long(words: str) -> Finding:
    """An OpenSSL client could not take the names of CAs that the server sent."""
    causes: Slugs = ("oversize", "tampered")
    return Finding("reason", "printer", side="client", reason="LENGTH_MISMATCH", stated=causes)


def no_server_hello(words: str) -> Finding:
    """An OpenSSL client up to 1.0.2: what came was no ServerHello, nor a record it knows."""
    causes: Slugs = ("plaintext-peer", "no-common-version")
    return Finding("reason", "nobody", side="client", reason="UNKNOWN_PROTOCOL", stated=causes)


def no_file(name: str) -> Finding:
    """A file that by its name has certificates or keys, and that is not there."""
    return Finding("file", "nobody", meaning=f"{name} is not there")


def denied_file(name: str) -> Finding:
    """Such a file that is not readable for the program."""
    return Finding("file", "nobody", meaning=f"{name} may not be read by the program")


def number_received(digits: str) -> Finding | None:
    """An alert that was received, by its number."""
    return alert_received(int(digits))


def number_sent(digits: str) -> Finding | None:
    """An alert that was sent, by its number."""
    return alert_sent(int(digits))


def schannel_sent(digits: str) -> Finding | None:
    """An alert that Windows says it sent: handshake_failure mostly for want of a cipher suite."""
    finding = number_sent(digits)
    if finding is None or finding.alert != A.handshake_failure:
        return finding
    return replace(finding, stated=("no-common-cipher", "no-common-version", "no-common-group"))


def name_received(name: str) -> Finding | None:
    """An alert that was received, by its name."""
    return alert_received(alert_named(name))


def name_sent(name: str) -> Finding | None:
    """An alert that was sent, by its name."""
    return alert_sent(alert_named(name))


def name_of_client(name: str) -> Finding | None:
    """An alert that the client sent, by its name: which side prints it is not said."""
    finding = alert_received(alert_named(name), "client")
    return None if finding is None else replace(finding, side=None)


def name_of_server(name: str) -> Finding | None:
    """The same of the server."""
    finding = alert_received(alert_named(name), "server")
    return None if finding is None else replace(finding, side=None)


def low_byte_received(digits: str) -> Finding | None:
    """An alert that was received; its number is the low byte."""
    return alert_received(int(digits) & 0xFF)  # level and description in one number


def low_byte_alert(digits: str) -> Finding | None:
    """An alert of which it is not said who sent it; its number is the low byte."""
    finding = low_byte_received(digits)
    return None if finding is None else replace(finding, kind="alert", refused="unsaid", side=None)


def low_byte_sent(digits: str) -> Finding | None:
    """An alert that was sent; its number is the low byte."""
    return alert_sent(int(digits) & 0xFF)


def decimal_error(digits: str) -> Finding | None:
    """OpenSSL's packed error, in decimal (BoringSSL)."""
    return packed_error(f"{int(digits):08x}")


def number_of_verdict(digits: str) -> Finding | None:
    """An own verdict, by its number."""
    return own_verdict(int(digits))
