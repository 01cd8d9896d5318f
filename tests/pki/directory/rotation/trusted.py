"""What the peers of a PKI directory trust, and the times of its certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.directory.directory import Directory
from tests.pki.directory.rotation.rolling import verdict

COMPROMISED = x509.ReasonFlags.key_compromise

SECOND, MINUTE, HOUR, DAY = (
    timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days")
)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.create(tmp_path / "pki")


def accepted(directory: Directory, credential: Credential) -> bool:
    """Whether a server that has the directory's trust admits a client, in both versions."""
    codes = {
        verdict(credential, "clients", directory.trust("clients"), tls) for tls in ("1.2", "1.3")
    }
    assert codes in ({None}, {23})
    return codes == {None}


def moved(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """Show all that changes a directory a later time."""
    for module in ("revoking", "crls", "issuing", "rollover", "ca_state"):
        monkeypatch.setattr(
            f"mtls_echo_pki.directory.{module}.utcnow", lambda: datetime.now(UTC) + by
        )
