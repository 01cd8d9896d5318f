"""Which cipher suites and groups are offered and accepted: Mozilla's *intermediate* profile.

Most operators hold their servers to it (Mozilla, Server Side TLS, version 5.7). It leaves suites
that authenticate what they encrypt (AEAD) and agree on a new key for every connection (forward
secrecy). Python's default also offers suites in CBC mode, whose padding has been attacked again
and again, and finite-field Diffie-Hellman with whatever parameters the server chooses. With TLS
1.3 alone every suite is of the first kind: the profile *modern*.
"""

from __future__ import annotations

import ssl

# For TLS 1.2, in OpenSSL's language; those of TLS 1.3 are not affected. The two DHE suites of the
# profile are left out, since they need parameters in a file. The security level stays what Python
# makes it, 2.
INTERMEDIATE_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"

# In the profile's order, as OpenSSL spells them.
INTERMEDIATE_GROUPS = ("X25519MLKEM768", "X25519", "P-256", "P-384")


def use_intermediate_profile(context: ssl.SSLContext) -> None:
    """Offer and accept only what Mozilla's intermediate profile lists, as far as Python can.

    Groups can be chosen from Python 3.15 on. Before, X448, P-521 and the groups ffdhe are offered
    as OpenSSL does by default: sound, only not usual. A configuration file of OpenSSL leaves them
    out (docs/security.md).
    """
    context.set_ciphers(INTERMEDIATE_SUITES)
    set_groups = getattr(context, "set_groups", None)
    if set_groups is not None:
        # An unknown name is an error, and OpenSSL knows the hybrid one from 3.5 on.
        known = INTERMEDIATE_GROUPS[ssl.OPENSSL_VERSION_INFO < (3, 5) :]
        set_groups(":".join(known))
