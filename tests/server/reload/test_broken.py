"""A server process whose files are broken: it names them, and serves what it had."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from tests.server.reload.mounts import (
    ALICE,
    CLIENTS,
    QUICK,
    SERVERS,
    TLS13,
    Mounts,
    client_of,
    issued,
    served,
    shown_by,
)
from tests.server.reload.mounts import mounts as mounts
from tests.support.mounts import in_place, mount, secret
from tests.support.servers import ServeProcess


def _cut(path: Path) -> None:
    os.truncate(path, 100)  # at once: what is written over a file is empty for a moment


def _relinked(folder: Path) -> None:
    (folder / "..data").unlink()
    (folder / "..data").symlink_to("..2026_gone")


def _as_folder(path: Path) -> None:
    path.resolve().unlink()
    path.resolve().mkdir()


def _listed(mounts: Mounts, contents: bytes) -> None:
    mount(mounts.lists, {"crl.pem": contents})


def _expired_list(mounts: Mounts) -> None:
    then = Authority(
        CLIENTS.certificate, CLIENTS.key, clock=lambda: mounts.revoked.clock() - timedelta(days=9)
    )
    _listed(mounts, then.crl().public_bytes(Encoding.PEM))


def _lasting_less(mounts: Mounts) -> None:
    # As an authority would issue it whose clock is a day slow: newer by its number only.
    then = Authority(
        CLIENTS.certificate, CLIENTS.key, clock=lambda: mounts.revoked.clock() - timedelta(days=1)
    )
    _listed(mounts, then.crl().public_bytes(Encoding.PEM))


OLD = {"lifetime": timedelta(days=-1), "backdate": timedelta(days=2)}

NOT_YET = {"lifetime": timedelta(days=3), "backdate": timedelta(days=-1)}

BROKEN: dict[str, tuple[Callable[[Mounts], object], str, str]] = {
    "mismatched pair": (
        lambda m: mount(m.tls, {**secret(m.first), "tls.key": issued().key_pem}),
        "tls.key",
        "the private key does not match the certificate",
    ),
    "truncated certificate": (lambda m: _cut(m.tls / "tls.crt"), "tls.crt", "is cut off"),
    "truncated key": (lambda m: _cut(m.tls / "tls.key"), "tls.key", "is cut off"),
    "empty file": (lambda m: in_place(m.tls / "tls.crt", b""), "tls.crt", "is empty"),
    "unreadable key": (lambda m: (m.tls / "tls.key").chmod(0), "tls.key", "permission denied"),
    "directory in place of a file": (
        lambda m: _as_folder(m.tls / "tls.key"),
        "tls.key",
        "is a directory",
    ),
    "missing ..data target": (
        lambda m: _relinked(m.tls),
        "tls.crt",
        "is a link to a file that does not exist",
    ),
    "no ..data": (
        lambda m: (m.tls / "..data").unlink(),
        "tls.crt",
        "is a link to a file that does not exist",
    ),
    "volume gone": (lambda m: shutil.rmtree(m.tls), "tls.crt", "does not exist"),
    "half-written bundle": (
        lambda m: mount(m.trust, {"bundle.pem": CLIENTS.trust.pem + SERVERS.trust.pem[:200]}),
        "bundle.pem",
        "is cut off",
    ),
    "bundle emptied": (lambda m: in_place(m.trust / "bundle.pem", b""), "bundle.pem", "is empty"),
    "bundle of keys": (
        lambda m: mount(m.trust, {"bundle.pem": ALICE.key_pem}),
        "bundle.pem",
        "holds a private key where a certificate belongs",
    ),
    "expired certificate": (
        lambda m: mount(m.tls, secret(issued(**OLD))),
        "tls.crt",
        "expired on",
    ),
    "certificate of the future": (
        lambda m: mount(m.tls, secret(issued(**NOT_YET))),
        "tls.crt",
        "is not valid before",
    ),
    "a client's certificate": (
        lambda m: mount(m.tls, secret(ALICE)),
        "tls.crt",
        "extendedKeyUsage does not include serverAuth",
    ),
    "lists gone": (lambda m: shutil.rmtree(m.lists), "crl.pem", "does not exist"),
    "list emptied": (lambda m: _listed(m, b""), "crl.pem", "is empty"),
    "list truncated": (lambda m: _cut(m.lists / "crl.pem"), "crl.pem", "is cut off"),
    "list expired": (_expired_list, "crl.pem", "is older than the one in use"),
    "list rolled back": (_lasting_less, "crl.pem", "is older than the one in use"),
    "another authority's list": (
        lambda m: _listed(m, SERVERS.crl().public_bytes(Encoding.PEM)),
        "crl.pem",
        "a trust anchor, is missing",
    ),
}


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_broken_publication_is_named_and_the_old_generation_serves_until_it_is_mended(
    mounts: Mounts, wrong: str
) -> None:
    break_it, file, reason = BROKEN[wrong]
    renewed = issued()
    with ServeProcess(*QUICK, *mounts.options, unprivileged=True) as running:
        break_it(mounts)
        event = running.event("reload")
        assert event["ok"] is False
        assert event["generation"] == 1
        assert event["changed"] == []
        assert f"/{file}: " in event["error"]
        assert reason in event["error"]
        assert event["not_after"][:10] == f"{mounts.first.certificate.not_valid_after_utc:%F}"
        for version in (ssl.TLSVersion.TLSv1_2, TLS13):
            assert served(running, client_of(ALICE, version)) == shown_by(mounts.first)
        mounts.anew(renewed)
        mended = running.event("reload", 2)
        while not (mended["ok"] and "certificate" in mended["changed"]):
            # In between it may have seen some of the volumes and not the others.
            number = len([event for event in running.events if event["event"] == "reload"])
            mended = running.event("reload", number + 1)
        for version in (ssl.TLSVersion.TLSv1_2, TLS13):
            assert served(running, client_of(ALICE, version)) == shown_by(renewed)
        assert running.stop() == 0
    body = mounts.first.key_pem.decode().splitlines()[1]
    assert body not in str(running.events)


def test_what_openssl_refuses_is_named_and_not_taken(mounts: Mounts, tmp_path: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak"),
            *("-addext", "subjectAltName=DNS:localhost", "-out", "w.crt", "-keyout", "w.key"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    crt, key = (tmp_path / "w.crt").read_bytes(), (tmp_path / "w.key").read_bytes()
    with ServeProcess(*QUICK, *mounts.options) as running:
        mount(mounts.tls, {"tls.crt": crt, "tls.key": key})
        event = running.event("reload")
        assert "EE_KEY_TOO_SMALL" in event["error"]
        assert str(mounts.tls) in event["error"]
        assert "P-256" in event["hint"]
        assert served(running, client_of(ALICE)) == shown_by(mounts.first)


def test_the_same_error_is_logged_once_and_mending_by_the_old_bytes_is_logged(
    mounts: Mounts,
) -> None:
    with ServeProcess("--reload-interval", "0.01", *mounts.options) as running:
        contents = (mounts.trust / "bundle.pem").read_bytes()
        in_place(mounts.trust / "bundle.pem", b"")
        assert not running.event("reload")["ok"]
        for _ in range(20):
            assert served(running, client_of(ALICE))
        in_place(mounts.trust / "bundle.pem", contents)
        event = running.event("reload", 2)
        assert (event["ok"], event["generation"], event["changed"]) == (True, 1, [])
