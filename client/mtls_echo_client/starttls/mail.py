"""SMTP, IMAP and POP3: lines of text, and a command that the answer to "what can you do" names.

The server is asked before the command is given, so that one which cannot is told apart from one
which will not. What it says it can do is used for nothing else: it is unauthenticated, and RFC
3207 §4.2, RFC 9051 §6.2.1 and RFC 2595 §4 have a client forget it once TLS is up.
"""

from __future__ import annotations

from mtls_echo_client.starttls.cleartext import Cleartext, NoTLSError, words

# The address literal of RFC 5321 §4.1.3: a client without a name of its own has one, too.
_EHLO = b"EHLO [127.0.0.1]\r\n"


async def smtp(clear: Cleartext, host: str) -> None:
    """RFC 3207: greeting, EHLO, STARTTLS, 220."""
    clear.awaited = "its greeting"
    await _reply(clear, b"220")
    await clear.send(_EHLO, "an answer to EHLO")
    offered = await _reply(clear, b"250")
    if not any(line[4:].strip().upper() == b"STARTTLS" for line in offered):
        raise NoTLSError("not-offered", "STARTTLS")
    await clear.send(b"STARTTLS\r\n", "an answer to STARTTLS")
    await _reply(clear, b"220")


async def _reply(clear: Cleartext, wanted: bytes) -> list[bytes]:
    """The lines of one reply (RFC 5321 §4.2), which begin all with the same code."""
    lines: list[bytes] = []
    while True:
        line = await clear.line()
        code, mark = line[:3], line[3:4]
        if not code.isdigit() or mark not in (b"", b" ", b"-"):
            raise clear.not_understood(line)
        if lines and code != lines[0][:3]:
            raise clear.not_understood(line)
        lines.append(line)
        if mark != b"-":
            break
    if lines[0][:3] != wanted:
        raise NoTLSError("refused", words(lines[-1]))
    return lines


async def imap(clear: Cleartext, host: str) -> None:
    """RFC 9051 §6.2.1: greeting, CAPABILITY, STARTTLS, OK."""
    clear.awaited = "its greeting"
    greeting = await clear.line()
    kind = greeting.upper()
    if kind.startswith(b"* PREAUTH"):
        # Then STARTTLS is not allowed any more: an attacker's way to keep TLS from beginning.
        raise NoTLSError("refused", words(greeting))
    if kind.startswith(b"* BYE"):
        raise NoTLSError("refused", words(greeting))
    if not kind.startswith(b"* OK"):
        raise clear.not_understood(greeting)
    await clear.send(b"a1 CAPABILITY\r\n", "an answer to CAPABILITY")
    offered = await _tagged(clear, b"a1")
    if not any(
        line.upper().split()[:2] == [b"*", b"CAPABILITY"] and b"STARTTLS" in line.upper().split()
        for line in offered
    ):
        raise NoTLSError("not-offered", "STARTTLS")
    await clear.send(b"a2 STARTTLS\r\n", "an answer to STARTTLS")
    await _tagged(clear, b"a2")


async def _tagged(clear: Cleartext, tag: bytes) -> list[bytes]:
    """The untagged lines before a command's answer, which must be OK."""
    lines: list[bytes] = []
    while True:
        line = await clear.line()
        first, _, rest = line.partition(b" ")
        if first == tag:
            if rest[:2].upper() != b"OK":
                raise NoTLSError("refused", words(line))
            return lines
        if first != b"*":
            raise clear.not_understood(line)
        if rest.upper().startswith(b"BYE"):
            raise NoTLSError("refused", words(line))
        lines.append(line)


async def pop3(clear: Cleartext, host: str) -> None:
    """RFC 2595 §4: greeting, CAPA, STLS, +OK."""
    clear.awaited = "its greeting"
    await _status(clear)
    await clear.send(b"CAPA\r\n", "an answer to CAPA")
    await _status(clear)
    offered: list[bytes] = []
    while (line := await clear.line()) != b".":
        offered.append(line.upper())
    if b"STLS" not in offered:
        raise NoTLSError("not-offered", "STLS")
    await clear.send(b"STLS\r\n", "an answer to STLS")
    await _status(clear)


async def _status(clear: Cleartext) -> None:
    line = await clear.line()
    if line.startswith(b"-ERR"):
        raise NoTLSError("refused", words(line))
    if not line.startswith(b"+OK"):
        raise clear.not_understood(line)
