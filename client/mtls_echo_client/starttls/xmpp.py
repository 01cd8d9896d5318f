"""XMPP: a stream of XML of which only the tags that matter are read.

A parser would have to be told to leave out entities, comments and processing instructions, all of
which XMPP forbids (RFC 6120 §11.1). So this reads one tag after the other, and refuses the rest.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

from mtls_echo_client.starttls.cleartext import Cleartext, NoTLSError

_TLS = b"urn:ietf:params:xml:ns:xmpp-tls"
_STREAM = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' to={}"
    " xmlns:stream='http://etherx.jabber.org/streams'>"
)
_DECLARATION = re.compile(rb"<\?xml\s[^<>]*\?>")
_QUOTED = re.compile(rb"'[^'<]*'|\"[^\"<]*\"")
_OPEN = re.compile(rb"['\"]")
_TAG = re.compile(rb"<(/?)(?:[\w.-]+:)?([\w.-]+)(?:\s+[\w:.-]+\s*=\s*\"\")*\s*(/?)>")
_NAMESPACE = re.compile(rb"\sxmlns\s*=\s*(?:'([^'<]*)'|\"([^\"<]*)\")")


class _Tag(NamedTuple):
    """A tag: its name without a prefix, and the namespace that it declares."""

    name: bytes
    namespace: bytes
    closes: bool
    is_empty: bool


async def xmpp(clear: Cleartext, host: str) -> None:
    """RFC 6120 §5: a stream, its features, starttls, proceed."""
    features = "the features of its stream"
    await clear.send(_STREAM.format(quoteattr(host)).encode(), features)
    offered, tag = False, await _tag(clear, first=True)
    if tag.name != b"stream":
        raise clear.not_understood(tag.name)
    while tag.name != b"features" or not (tag.closes or tag.is_empty):
        tag = await _tag(clear)
        if tag.name == b"error":
            raise NoTLSError("refused", f"<{(await _tag(clear)).name.decode()}/>")
        if tag.name == b"stream":
            raise NoTLSError("ended", features) if tag.closes else clear.not_understood()
        offered |= tag.name == b"starttls" and tag.namespace == _TLS
    if not offered:
        raise NoTLSError("not-offered", "starttls")
    await clear.send(b"<starttls xmlns='%s'/>" % _TLS, "an answer to starttls")
    tag = await _tag(clear)
    if tag.name == b"failure":
        raise NoTLSError("refused", "<failure/>")
    if tag.name != b"proceed" or tag.namespace != _TLS or tag.closes:
        raise clear.not_understood(tag.name)
    if not tag.is_empty and await _tag(clear) != (b"proceed", b"", True, False):
        raise clear.not_understood(tag.name)


async def _tag(clear: Cleartext, *, first: bool = False) -> _Tag:
    """The next tag; text before it, such as the names of mechanisms, is passed over."""
    while (byte := await clear.exactly(1)) != b"<":
        if first and not byte.isspace():
            raise clear.not_understood(byte)
    text = b"<" + await clear.until(b">")
    # A value may contain what ends a tag elsewhere.
    while _OPEN.search(_QUOTED.sub(b"", text)):
        text += await clear.until(b">")
    if _DECLARATION.fullmatch(text):
        return await _tag(clear, first=first)
    found = _TAG.fullmatch(_QUOTED.sub(b'""', text))
    if found is None:
        raise clear.not_understood(text)
    namespace = _NAMESPACE.search(text)
    declared = (namespace[1] or namespace[2] or b"") if namespace else b""
    return _Tag(found[2], declared, bool(found[1]), bool(found[3]))
