"""What to do about a server that does not speak TLS at once, by what it says first."""

from __future__ import annotations

from mtls_echo_tls.answers.answer import heard

# Protocols in whose middle TLS can begin, as `heard` calls them, and as our option does.
_OPTIONS = {
    "SMTP": "smtp",
    "IMAP": "imap",
    "POP3": "pop3",
    "MySQL or MariaDB": "mysql",
    "XMPP": "xmpp",
}

# Of a server that says nothing in answer to a ClientHello: these two leave.
AT_AN_END = (
    "read the other side's log: many TLS programs refuse a peer without telling it; or, if it"
    " speaks PostgreSQL's protocol or LDAP, in whose middle TLS begins: {starttls}"
)


def remedy_for(said: bytes) -> str | None:
    """How TLS may begin with a server that said this; None if that is not known."""
    spoken = heard(said)
    option = _OPTIONS.get(spoken.protocol) if spoken is not None else None
    if spoken is None or option is None:
        return None
    return (
        f"it speaks {spoken.protocol}, in whose middle TLS can begin: connect with {{starttls}}"
        f" {option}; or connect to the port on which it speaks TLS at once"
    )
