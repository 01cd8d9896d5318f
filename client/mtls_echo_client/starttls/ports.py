"""The plaintext protocols in which TLS can be started, and where their servers listen."""

from __future__ import annotations

# By IANA's registry. Mail is submitted at 587 and relayed at 25.
PORTS = {
    "postgres": 5432,
    "mysql": 3306,
    "smtp": 25,
    "imap": 143,
    "pop3": 110,
    "ldap": 389,
    "xmpp": 5222,
}
