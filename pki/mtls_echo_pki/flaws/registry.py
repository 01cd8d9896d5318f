"""Every flaw, by name.

``pki issue --flaw``, ``pki flaws``, the pytest fixture ``flaw`` and the tests of diagnosis all
take them from here. An entry is complete by itself (:class:`Flaw`); a new one is one function.

Left out on purpose: combinations. Two faults at once show which of them OpenSSL happens to look
at first, and are made in the tests that have to find both.
"""

from __future__ import annotations

from mtls_echo_pki.flaws import certificate as flaws_of_certificates
from mtls_echo_pki.flaws import keys as flaws_of_keys
from mtls_echo_pki.flaws import names as flaws_of_names
from mtls_echo_pki.flaws import path as flaws_of_paths
from mtls_echo_pki.flaws import revocation as flaws_of_revocation
from mtls_echo_pki.flaws.flaw import Flaw
from mtls_echo_pki.lookup import look_up

FLAWS: dict[str, Flaw] = {
    value.slug: value
    for module in (
        flaws_of_certificates,
        flaws_of_names,
        flaws_of_keys,
        flaws_of_paths,
        flaws_of_revocation,
    )
    for value in vars(module).values()
    if isinstance(value, Flaw)
}


def find_flaw(slug: str) -> Flaw:
    """Return the flaw of that name.

    Raises:
        ValueError: If there is none.
    """
    return look_up("flaw", slug, FLAWS, "mtls-echo pki flaws")
