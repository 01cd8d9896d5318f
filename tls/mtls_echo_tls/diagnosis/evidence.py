"""The evidence: what one side observed of a connection, and nothing that was inferred from it.

It is recorded while the connection exists and never guessed afterwards: the numbers that OpenSSL
returned, the alerts and certificates that really crossed the connection, and how the transport
ended. What happened is noted by a verb (`Evidence.deny`, `Evidence.time_out`); no other module
sets a field, and `mtls_echo_tls.diagnosis.diagnose` only reads. The *text* of an OpenSSL error is
not evidence: it changes between releases, and reads as if our side had found the fault when the
peer did.
"""

from __future__ import annotations

import copy
import datetime
import ssl
import sys
import time

import msgspec

from mtls_echo_tls.alerts import alert_of_reason
from mtls_echo_tls.answers.answer import ServerAnswer
from mtls_echo_tls.causes import InTheClear
from mtls_echo_tls.denial import denial_in
from mtls_echo_tls.diagnosis.context_info import ContextInfo
from mtls_echo_tls.reasons import alert_answering
from mtls_echo_tls.sides import Purpose, Side, Stage, TransportEnd
from mtls_echo_tls.slugs import Slugs
from mtls_echo_tls.stacks.fingerprint import recognise
from mtls_echo_tls.trace.cipher_mismatch import why_no_shared_cipher
from mtls_echo_tls.trace.cleartext import ends_in_alert
from mtls_echo_tls.trace.decoding import Requested
from mtls_echo_tls.trace.recorder import Recorder
from mtls_echo_tls.trace.shown import AlertSeen, shown_by

# Enough of a peer's first bytes to tell HTTP, SSH, SMTP and an echoed ClientHello apart; and for
# the one line that a server may leave behind (`mtls_echo_tls.denial`).
_FIRST_BYTES, _LATE_DATA = 64, 512


class Evidence(msgspec.Struct):
    """One side's record of one connection.

    Attributes:
        server_name: On the client the reference identifier (RFC 9525 §4), on the server the
            SNI that the client sent.
        reason, verify_code: OpenSSL's symbol for the error that ended it, and its path verdict.
        alert: The alert that ended the connection, ours or the peer's.
        failed, abandoned: Whether TLS or the transport ended the connection against our will, or
            our own side gave up half way: it was cancelled.
        transport_end: How the transport ended from the peer's side.
        connect_error: Why there is no TCP connection.
        denied: Why an authenticated client was not authorised.
        mismatched_echo, answer: What an echo differs in, or what the peer said in its place.
        closed_early, at_boundary: What was still to come when the peer closed cleanly; whether
            nothing was outstanding, by a framing of its own (RFC 9112 §9.8).
        waited: Seconds after the handshake in which nothing came.
        first_bytes, late_data: The first 64 bytes received, and the first 512 of application data
            that were found after a failed write.
        no_tls, no_tls_detail: Why TLS never began in the middle of a plaintext protocol.
        own_chain, peer_chain: The certificates presented, DER, end-entity first. A rejected
            peer's are here too.
        hello_answered: Whether a ServerHello was received (client) or sent (server).
        client_random: `ClientHello.random`, hexadecimal.
        is_tls13: Whether the handshake is one of TLS 1.3, completed or not.
        tls13_offered, tls13_enabled: Whether the ClientHello offers TLS 1.3, and whether this
            side would speak it.
        peer_stacks: The TLS stacks that the peer's messages fit, several only if they are releases
            of one (`mtls_echo_tls.stacks.fingerprint`); empty when it is not known.
        peer_is_openssl: Whether the peer's messages leave no doubt that it is (`openssl_peer`).
        alpn_offered: Whether the ClientHello offers application protocols.
        not_shared: What left no cipher suite in common, on a server that found none.
        no_common_alpn: They were offered, this side insists on some, and none was selected.
        certificate_requested, certificate_request: Whether the server asked for a certificate,
            and what it must be like.
        version, cipher, group, signature, alpn, resumed: What was negotiated; None before. The
            signature is the server's.
        context_info: What our own context was made from.
        settled: Whether all is read already that ever will be.
        started, duration: In seconds; by a clock that is never set.
        ended_at: By this machine's clock, which certificates are verified against.
    """

    side: Side
    server_name: str | None = None
    stage: Stage = "connect"
    reason: str | None = None
    verify_code: int | None = None
    alert: AlertSeen | None = None
    failed: bool = False
    abandoned: bool = False
    unused: bool = False
    close_notify: bool = False
    transport_end: TransportEnd = "open"
    timed_out: bool = False
    connect_error: str | None = None
    denied: str | None = None
    mismatched_echo: str | None = None
    closed_early: str | None = None
    at_boundary: bool = False
    purpose: Purpose = "echo"
    product: str | None = None
    answer: ServerAnswer | None = None
    waited: float | None = None
    first_bytes: bytes = b""
    late_data: bytes = b""
    no_tls: InTheClear | None = None
    no_tls_detail: str = ""
    own_chain: tuple[bytes, ...] = ()
    peer_chain: tuple[bytes, ...] = ()
    certificate_requested: bool = False
    certificate_request: Requested | None = None
    hello_answered: bool = False
    client_random: str | None = None
    is_tls13: bool = False
    tls13_offered: bool = False
    tls13_enabled: bool = False
    peer_stacks: frozenset[str] = frozenset()
    peer_is_openssl: bool = False
    alpn_offered: bool = False
    not_shared: Slugs = ()
    no_common_alpn: bool = False
    version: str | None = None
    cipher: str | None = None
    group: str | None = None
    signature: str | None = None
    alpn: str | None = None
    resumed: bool = False
    context_info: ContextInfo = ContextInfo()
    started: float = msgspec.field(default_factory=time.perf_counter)
    duration: float | None = None
    ended_at: datetime.datetime | None = None
    recorder: Recorder = msgspec.field(default_factory=Recorder)
    settled: bool = False

    def __repr__(self) -> str:
        """What was observed, but not what with."""
        shown = msgspec.structs.asdict(self)
        del shown["context_info"], shown["recorder"], shown["settled"]
        return f"Evidence({shown})"

    @property
    def is_success(self) -> bool:
        """Whether both sides accepted and nothing else happened: all that matters was read.

        False says nothing: there may be, or it was no success.
        """
        return self.stage == "established" and not (
            self.failed
            or self.abandoned
            or self.timed_out
            or self.unused
            or self.alert
            or self.reason
            or self.denied
            or self.late_data
            or self.no_common_alpn
            or self.mismatched_echo
            or self.answer
            or self.waited is not None
            or self.closed_early
            or self.version is None
            or self.verify_code is not None
            or self.transport_end != "open"
            or self.recorder.requested
        )

    @property
    def lasted(self) -> float:
        """Seconds from its beginning to its end, or until now."""
        return time.perf_counter() - self.started if self.duration is None else self.duration

    @property
    def ended_between(self) -> bool:
        """Whether the peer just went where nothing was outstanding: nothing was cut off."""
        ended = self.transport_end != "open" and self.reason is None and self.alert is None
        return self.at_boundary and ended

    # --- what happened -------------------------------------------------------------------------

    def no_connection(self, reason: str, *, timed_out: bool) -> None:
        """There is no TCP connection."""
        self.timed_out = timed_out
        self.connect_error = reason
        self.finish()

    def stay_in_the_clear(self, problem: InTheClear, detail: str) -> None:
        """TLS was to begin in the middle of a plaintext protocol, and did not."""
        self.stage, self.no_tls, self.no_tls_detail = "handshake", problem, detail
        self.finish()

    def keep_first_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the first bytes received: they tell what the peer speaks, if it is not TLS."""
        missing = _FIRST_BYTES - len(self.first_bytes)
        if missing > 0:
            self.first_bytes += bytes(data[:missing])

    def keep_late_data(self, data: bytes) -> None:
        """Keep application data that was found after a failed write."""
        self.late_data += data[: _LATE_DATA - len(self.late_data)]

    def await_first_read(self) -> None:
        """Our handshake is complete, and the peer may still refuse us (TLS 1.3)."""
        self.stage = "first-read"

    def accept(self) -> None:
        """Both sides have accepted each other: that it is TLS needs no more showing."""
        self.stage = "established"
        self.first_bytes = self.first_bytes[:1]

    def receive_close_notify(self) -> None:
        """The peer ended its direction cleanly."""
        self.close_notify = True

    def close_early(self, when: str) -> None:
        """The peer closed cleanly while something was still to come."""
        self.closed_early = when

    def reach_boundary(self, reached: bool) -> None:
        """Everything was answered that the peer has asked, or that is so no more.

        What was exchanged so far is complete by a framing of its own (RFC 9112 §9.8).
        """
        self.at_boundary = reached

    def mismatch(self, difference: str) -> None:
        """An echo differs from what was sent."""
        self.mismatched_echo = difference

    def intend(self, purpose: Purpose, product: str | None = None) -> None:
        """Note what the connection is for, and with which product if that is known beforehand."""
        self.purpose, self.product = purpose, product

    def hear(self, answer: ServerAnswer) -> None:
        """The peer said something that is not an echo."""
        self.answer = answer

    def wait_in_vain(self, seconds: float) -> None:
        """For so long after the handshake nothing came that refuses us, or accepts us."""
        self.waited = seconds

    def deny(self, reason: str) -> None:
        """An authenticated client was not authorised."""
        self.denied = reason

    def read_denial(self, received: bytes) -> None:
        """The same, if what was received is a denial line."""
        if self.denied is None:
            self.denied = denial_in(received)

    def time_out(self) -> None:
        """Our own deadline passed. A failure that came before it stays what it was."""
        if not self.failed:
            self.timed_out = True

    def end_transport(self, end: TransportEnd) -> None:
        """The transport ended. After a failure that is a consequence, and tells nothing new."""
        if not self.failed:
            self.transport_end = end

    def leave_unused(self) -> None:
        """The peer left after the handshake, before it had sent a byte."""
        self.unused = True

    def abandon(self) -> None:
        """Our own side gave up half way."""
        self.abandoned = True

    def fail(self) -> None:
        """The connection failed: this is all that will be known of it."""
        self.failed = True
        self._conclude()
        # Nothing is sent or received after a deadline; thousands may pass at the same time.
        self.settled = self.timed_out

    def finish(self) -> None:
        """Fix the end and the duration: what follows is not part of it."""
        if self.duration is None:
            self.duration = self.lasted
            self.ended_at = datetime.datetime.now(datetime.UTC)

    # --- what OpenSSL said ---------------------------------------------------------------------

    def note_error(self, error: ssl.SSLError) -> None:
        """Take the numbers out of the error that ended the connection: the first one only."""
        if self.failed:
            return
        if isinstance(error, ssl.SSLZeroReturnError):
            self.close_notify = True  # an end without an error, where none may be
            return
        self.reason = error.reason
        if isinstance(error, ssl.SSLCertVerificationError):
            self.verify_code = error.verify_code
        if (received := alert_of_reason(error.reason)) is not None:
            # Behind the handshake OpenSSL takes none that is not protected.
            protected = True if self.stage == "established" else None
            self.alert = AlertSeen(received, sent=False, protected=protected)

    def note_offer(self, context: ssl.SSLContext) -> None:
        """Compare the ClientHello with our own settings, while both are at hand."""
        highest = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED
        self.tls13_enabled = context.maximum_version in highest
        hello = self.recorder.find("received", "ClientHello")
        credential = self.context_info.credential
        if self.reason == "NO_SHARED_CIPHER" and hello is not None and credential is not None:
            self.not_shared = why_no_shared_cipher(hello, context, credential.key)

    def note_answer(self, written: bytes) -> None:
        """OpenSSL has written something in answer to the error.

        During the handshake the recording shows an alert, and here nothing is added to that.
        Behind it the record shows that one was written, and the reason shows which, unless
        OpenSSL has several alerts for it.
        """
        code = alert_answering(self.reason, self.version)
        behind = self.stage == "established" and ends_in_alert(written)
        if self.alert is None and code is not None and behind:
            self.alert = AlertSeen(code, sent=True, protected=True)

    def note_negotiated(self, connection: ssl.SSLObject) -> None:
        """Take over what the completed handshake showed and agreed on."""
        self._read_recording()
        self.version = connection.version()
        cipher = connection.cipher()
        self.cipher = sys.intern(cipher[0]) if cipher else None
        self.alpn = connection.selected_alpn_protocol()
        self.resumed = bool(connection.session_reused)
        # OpenSSL goes on without a protocol where RFC 7301 §3.2 demands a refusal.
        insists = bool(self.context_info.alpn)
        self.no_common_alpn = insists and self.alpn_offered and self.alpn is None
        if not self.peer_chain:
            # A resumed handshake has no Certificate message; the session remembers the peer's.
            certificate = connection.getpeercert(binary_form=True)
            self.peer_chain = (certificate,) if certificate else ()

    # --- what the messages show ----------------------------------------------------------------

    def concluded(self) -> Evidence:
        """A copy in which everything is read that can be: what a diagnosis works on."""
        known = copy.copy(self)
        if not self.settled:
            known._conclude()
        return known

    def _conclude(self) -> None:
        self._read_recording()
        if self.side == "client":
            self.read_denial(self.late_data)
        self.finish()

    def _read_recording(self) -> None:
        """Take over what the handshake's messages show; more exact than `note_error`."""
        shown = shown_by(self.recorder, self.side)
        self.own_chain = shown.own_chain or self.own_chain
        self.peer_chain = shown.peer_chain or self.peer_chain
        self.hello_answered |= shown.hello_answered
        self.is_tls13 |= shown.is_tls13
        if shown.request is not None:
            self.certificate_requested, self.certificate_request = True, shown.request
        self.alpn_offered |= shown.alpn_offered
        self.tls13_offered |= shown.tls13_offered
        self.client_random = shown.client_random or self.client_random
        if self.side == "server" and shown.server_name:
            self.server_name = shown.server_name
        self.group = shown.group or self.group
        self.signature = shown.signature or self.signature
        if self.failed and not self.peer_stacks and not self.timed_out:
            self.peer_stacks = recognise(self.recorder)
            self.peer_is_openssl |= self.peer_stacks == frozenset({"OpenSSL"})
        self.alert = shown.alert or self.alert
