"""Files become a snapshot, or an error that names the file and the reason."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_client.endpoints.monitor.remedies import CONFIGURATION
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.passwords import PasswordError
from mtls_echo_pki.files.pem import read_credential
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from mtls_echo_pki.flaws.registry import find_flaw
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.load import (
    client_material,
    default_pki,
    server_material,
)
from mtls_echo_tls.path.validate import examine
from mtls_echo_tls.vocabulary import API, Vocabulary
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.mounts import mount
from tests.support.timing import TIMEOUT
from tests.support.tls import ALICE, LOCALHOST


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, content in {
        "server.crt": LOCALHOST.certificate_pem,
        "server.key": LOCALHOST.key_pem,
        "client.crt": ALICE.certificate_pem,
        "client.key": ALICE.key_pem,
        "servers.crt": SERVERS.trust.pem,
        "clients.crt": CLIENTS.trust.pem,
        "empty": b"",
        "text": b"nothing of interest\n",
        "cut": LOCALHOST.certificate_pem[:200],
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    for arguments in (
        ["x509", "-in", "server.crt", "-outform", "DER", "-out", "server.der"],
        ["pkey", "-in", "server.key", "-aes256", "-passout", "pass:x", "-out", "locked.key"],
    ):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_a_servers_files_are_read(files: Path) -> None:
    material = server_material(
        cert=files / "server.crt", key=files / "server.key", client_ca=files / "clients.crt"
    )
    assert material.credential is not None
    assert material.credential.fingerprint == LOCALHOST.fingerprint
    assert material.trust is not None
    assert material.trust.anchors == CLIENTS.trust.anchors
    assert material.warnings == ()
    assert material.not_after == LOCALHOST.certificate.not_valid_after_utc
    assert material.source == str(files / "server.crt")
    assert not material.created


def test_a_client_may_come_without_a_certificate(files: Path) -> None:
    material = client_material(ca=files / "servers.crt")
    assert material.credential is None
    assert material.not_after is None
    assert material.trust is not None


def test_a_generation_changes_with_the_material_and_only_then(files: Path) -> None:
    def read() -> str:
        return client_material(
            cert=files / "client.crt", key=files / "client.key", ca=files / "servers.crt"
        ).generation

    first = read()
    assert read() == first
    other = CLIENTS.issue(Request.client("alice.test"))
    (files / "client.crt").write_bytes(other.certificate_pem)
    (files / "client.key").write_bytes(other.key_pem)
    second = read()
    assert second != first
    (files / "servers.crt").write_bytes(CLIENTS.trust.pem)
    assert read() not in (first, second)


@pytest.mark.parametrize(
    ("cert", "key", "blamed"),
    [
        ("missing", "server.key", "missing"),
        ("server.crt", "missing", "missing"),
        ("folder", "server.key", "folder"),
        ("empty", "server.key", "empty"),
        ("server.crt", "empty", "empty"),
        ("text", "server.key", "text"),
        ("cut", "server.key", "cut"),
        ("server.der", "server.key", "server.der"),
        ("server.key", "server.key", "server.key"),
        ("server.crt", "server.crt", "server.crt"),
        ("server.crt", "locked.key", "locked.key"),
        ("server.crt", "client.key", "client.key"),
    ],
)
def test_a_wrong_file_is_named_with_a_reason_and_no_passphrase_is_asked_for(
    files: Path, cert: str, key: str, blamed: str
) -> None:
    with pytest.raises(MaterialError) as caught:
        server_material(cert=files / cert, key=files / key)
    assert caught.value.path == files / blamed
    assert caught.value.reason
    assert "PEM lib" not in str(caught.value)
    assert not caught.value.reason.endswith(".")


@pytest.mark.parametrize("name", ["missing", "folder", "empty", "text", "server.key", "cut"])
def test_a_wrong_file_of_trust_anchors_is_named(files: Path, name: str) -> None:
    with pytest.raises(MaterialError) as caught:
        client_material(ca=files / name)
    assert caught.value.path == files / name


def test_an_encrypted_key_is_an_error_and_not_a_prompt(files: Path) -> None:
    # In a process of its own: a prompt would read the terminal, and hang without one.
    program = (
        "from pathlib import Path\n"
        "from mtls_echo import MaterialError\n"
        "from mtls_echo_tls.material.load import server_material\n"
        "try: server_material(cert=Path('server.crt'), key=Path('locked.key'))\n"
        "except MaterialError as error: print(error)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=files,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert "encrypted" in finished.stdout
    assert "pass phrase" not in (finished.stdout + finished.stderr).lower()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param({"cert": "server.crt"}, "key is missing", id="no key"),
        pytest.param({"key": "server.key"}, "cert is missing", id="no certificate"),
        pytest.param({"client_ca": "clients.crt"}, "cert is missing", id="only a CA"),
        pytest.param(
            {"pki": "pki", "client_ca": "clients.crt"}, "pki and client_ca exclude", id="mixed"
        ),
    ],
)
def test_a_servers_incomplete_or_mixed_options_are_refused(
    files: Path, arguments: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        server_material(**{name: files / path for name, path in arguments.items()})  # type: ignore[arg-type]  # paths only
    assert caught.value.hint
    assert not (files / "pki").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param({"cert": "client.crt", "key": "client.key"}, "ca is missing", id="no CA"),
        pytest.param({"ca": "servers.crt", "cert": "client.crt"}, "key is missing", id="no key"),
        pytest.param(
            {"ca": "servers.crt", "key": "client.key"}, "cert is missing", id="no certificate"
        ),
        pytest.param({"pki": "pki", "ca": "servers.crt"}, "pki and ca exclude", id="mixed"),
    ],
)
def test_a_clients_incomplete_or_mixed_options_are_refused(
    files: Path, arguments: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        client_material(**{name: files / path for name, path in arguments.items()})  # type: ignore[arg-type]  # paths only


def test_no_certificate_and_a_certificate_exclude_each_other(files: Path) -> None:
    with pytest.raises(ConfigurationError, match="no_cert contradicts cert"):
        client_material(
            ca=files / "servers.crt",
            cert=files / "client.crt",
            key=files / "client.key",
            no_cert=True,
        )


def test_a_directory_is_made_once_and_serves_both_ends(tmp_path: Path) -> None:
    one = server_material(pki=tmp_path / "pki")
    other = client_material(pki=tmp_path / "pki")
    assert one.created
    assert not other.created
    assert one.credential is not None
    assert other.credential is not None
    assert one.trust is not None
    assert other.trust is not None
    assert one.credential.certificate.issuer == other.trust.anchors[0].subject
    assert other.credential.certificate.issuer == one.trust.anchors[0].subject
    assert client_material(pki=tmp_path / "pki", no_cert=True).credential is None
    with pytest.raises((DirectoryError, MaterialError)):
        client_material(pki=tmp_path / "pki", name="absent")


def test_the_default_directory_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLS_ECHO_PKI", os.fspath(tmp_path / "here"))
    assert default_pki() == tmp_path / "here"
    assert server_material().created
    monkeypatch.delenv("MTLS_ECHO_PKI")
    assert default_pki().name == "pki"


@pytest.mark.parametrize(
    ("credential", "warning"),
    [
        pytest.param(
            SERVERS.issue(
                Request.server("a.test", lifetime=timedelta(days=-1), backdate=timedelta(days=2))
            ),
            "our certificate expired on",
            id="expired",
        ),
        pytest.param(
            SERVERS.issue(
                Request.server("a.test", lifetime=timedelta(days=2), backdate=timedelta(days=-1))
            ),
            "our certificate is not valid before",
            id="not yet valid",
        ),
        pytest.param(
            SERVERS.issue(
                Request.server("a.test", lifetime=timedelta(days=1), backdate=timedelta(days=29))
            ),
            "our certificate expires on",
            id="expires soon",
        ),
        pytest.param(
            SERVERS.issue(Request.client("a.test")),
            "does not include serverAuth",
            id="wrong usage",
        ),
        pytest.param(
            SERVERS.issue(Request.server("spiffe://a/b")),
            "no subjectAltName with a host",
            id="no host",
        ),
    ],
)
def test_what_loads_but_will_fail_is_warned_about(
    tmp_path: Path, credential: Credential, warning: str
) -> None:
    (tmp_path / "c").write_bytes(credential.certificate_pem)
    (tmp_path / "k").write_bytes(credential.key_pem)
    warnings = server_material(cert=tmp_path / "c", key=tmp_path / "k").warnings
    assert len(warnings) == 1
    assert warning in warnings[0]


def test_a_short_lived_certificate_is_not_warned_about_from_the_start(tmp_path: Path) -> None:
    credential = SERVERS.issue(Request.server("a.test", lifetime=timedelta(minutes=30)))
    (tmp_path / "c").write_bytes(credential.certificate_pem)
    (tmp_path / "k").write_bytes(credential.key_pem)
    assert server_material(cert=tmp_path / "c", key=tmp_path / "k").warnings == ()


def test_a_bundle_with_many_old_anchors_is_one_warning(tmp_path: Path) -> None:
    old = [Authority.root(f"old {n}", lifetime=timedelta(days=1)) for n in range(5)]
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(b"".join(authority.trust.pem for authority in old))

    material = client_material(ca=bundle)
    assert material.warnings == ()

    later = [
        Authority.root(
            f"older {n}",
            lifetime=timedelta(days=1),
            clock=lambda: datetime.now(UTC) - timedelta(days=30),
        )
        for n in range(5)
    ]
    bundle.write_bytes(b"".join(authority.trust.pem for authority in later))

    (warning,) = client_material(ca=bundle).warnings
    assert warning == "5 of 5 trust anchors are not valid, or not for long"


def test_revocation_lists_come_with_the_anchors(tmp_path: Path) -> None:
    authority = Authority.root()
    (tmp_path / "ca.crt").write_bytes(authority.trust.pem)
    lists = tmp_path / "crl.pem"
    lists.write_bytes(authority.crl().public_bytes(Encoding.PEM))

    with_lists = client_material(ca=tmp_path / "ca.crt", crl=lists)
    without = client_material(ca=tmp_path / "ca.crt")

    assert with_lists.trust is not None
    assert len(with_lists.trust.crls) == 1
    assert with_lists.generation != without.generation


def test_a_chain_that_openssl_completes_silently_is_warned_about(tmp_path: Path) -> None:
    issuing = Authority.root().intermediate()
    issued = issuing.issue(Request.client("alice.test"))
    files = {
        "c.crt": issued.certificate.public_bytes(Encoding.PEM),
        "c.key": issued.key_pem,
        "ca.crt": issuing.certificate_pem,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    material = client_material(
        cert=tmp_path / "c.crt", key=tmp_path / "c.key", ca=tmp_path / "ca.crt"
    )

    assert any("our chain lacks" in warning for warning in material.warnings)


def test_an_anchor_that_is_not_a_root_is_warned_about_with_crls(tmp_path: Path) -> None:
    """With CRLs OpenSSL wants it checked, and cannot: see tests/tls/path/test_crl.py."""
    root = Authority.root("a root")
    issuing = root.intermediate("an intermediate")
    (tmp_path / "ca.pem").write_bytes(issuing.certificate.public_bytes(Encoding.PEM))
    own, above = (authority.crl().public_bytes(Encoding.PEM) for authority in (issuing, root))

    def warnings(*lists: bytes) -> tuple[str, ...]:
        (tmp_path / "crl.pem").write_bytes(b"".join(lists))
        return client_material(ca=tmp_path / "ca.pem", crl=tmp_path / "crl.pem").warnings

    expected = (
        "with CRLs, OpenSSL has to check the trust anchor 'an intermediate', and cannot, since it"
        " is not a root: every certificate below that trust anchor will be refused; make 'a root',"
        " which issued it, the trust anchor in its place, have 'an intermediate' sent along, and"
        " load the CRLs of both",
    )
    assert warnings(own) == warnings(own, above) == expected
    assert client_material(ca=tmp_path / "ca.pem").warnings == ()


def test_an_authority_as_openssl_makes_it_by_itself_is_warned_about_and_its_fault_is_named(
    files: Path,
) -> None:
    # What `openssl req -x509` makes with the configuration that it comes with has no keyUsage,
    # and Python 3.13's default, like ours, refuses whatever is below it (verify code 92). Most
    # programs do not.
    (files / "openssl.cnf").write_text(
        "[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n"
        "[ca]\nsubjectKeyIdentifier=hash\nbasicConstraints=critical,CA:true\n"
    )
    new = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    where = ["-keyout", "own.key", "-out", "own.crt", "-subj", "/CN=my CA", "-days", "90"]
    subprocess.run(
        ["openssl", "req", "-config", "openssl.cnf", *new, *where],
        cwd=files,
        check=True,
        capture_output=True,
    )
    mine = read_credential(files / "own.crt", files / "own.key")
    issued = Authority(mine.certificate, mine.key).issue(Request.server("localhost"))

    def found(strict: bool) -> list[tuple[str, str]]:
        path = examine(
            issued.chain_der, presenter="server", anchors=[mine.certificate], strict=strict
        )
        return [(fault.slug, fault.detail) for fault in path.faults]

    assert client_material(ca=files / "own.crt").warnings == (
        "the trust anchor 'my CA' will be refused, and every certificate below it: it has no"
        " keyUsage (RFC 5280 §4.2.1.3)",
    )
    assert client_material(ca=files / "own.crt", strict=False).warnings == (
        "the trust anchor 'my CA' is refused by strict verifiers (Python from 3.13 on by default,"
        " and OpenSSL with -x509_strict), and what it issued: it has no keyUsage (RFC 5280"
        " §4.2.1.3)",
    )
    assert found(strict=True) == [
        ("not-conforming", "“my CA” has no keyUsage, which RFC 5280 requires")
    ]
    assert found(strict=False) == []
    for strict in (True, False):
        assert client_material(ca=files / "servers.crt", strict=strict).warnings == ()


def test_an_own_certificate_that_strict_verifiers_refuse_is_warned_about_however_we_verify(
    files: Path,
) -> None:
    root = Authority.root()
    inputs = find_flaw("missing-key-identifier").build(root, Request.server("localhost"))
    (files / "own.crt").write_bytes(inputs.credential.certificate_pem)
    (files / "own.key").write_bytes(inputs.credential.key_pem)

    for strict in (True, False):
        material = server_material(cert=files / "own.crt", key=files / "own.key", strict=strict)
        assert material.warnings == (
            "our certificate is refused by strict verifiers (Python from 3.13 on by default, and"
            " OpenSSL with -x509_strict): it has no authorityKeyIdentifier (RFC 5280 §4.2.1.1)",
        )
        assert material.strict is strict


def test_a_pinned_certificate_is_not_held_to_the_rules_for_paths(files: Path) -> None:
    inputs = find_flaw("missing-key-identifier").build(
        Authority.root(), Request.server("localhost")
    )
    (files / "pinned.crt").write_bytes(Trust((inputs.credential.certificate,)).pem)

    assert client_material(ca=files / "pinned.crt").warnings == ()


# --- files as people have them -------------------------------------------------------------------


def test_a_certificates_file_may_have_the_key_in_it(files: Path) -> None:
    both = files / "both.pem"
    both.write_bytes(LOCALHOST.certificate_pem + LOCALHOST.key_pem)

    server = server_material(cert=both, client_ca=files / "clients.crt")
    client = client_material(cert=both, ca=files / "servers.crt")

    for material in (server, client):
        assert material.credential is not None
        assert material.credential.fingerprint == LOCALHOST.fingerprint
        assert material.files.key == both


def test_a_file_in_another_form_is_named_where_no_key_is_given(files: Path) -> None:
    with pytest.raises(MaterialError, match="is a DER certificate"):
        server_material(cert=files / "server.der")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    contents = {
        "tls.crt": LOCALHOST.certificate_pem,
        "tls.key": LOCALHOST.key_pem,
        "ca.crt": CLIENTS.trust.pem,
    }
    publish(tmp_path / "secret", contents, {})
    return tmp_path / "secret"


def test_a_mounted_secret_takes_the_place_of_a_directory(secret: Path) -> None:
    server = server_material(pki=secret)
    client = client_material(pki=secret, no_cert=True)

    assert server.credential is not None
    assert server.credential.fingerprint == LOCALHOST.fingerprint
    assert server.trust == client.trust == CLIENTS.trust
    assert server.files.anchors == secret / "ca.crt"
    assert client.credential is None
    assert not server.created


def test_a_secret_without_a_ca_is_enough_for_a_server_only(files: Path) -> None:
    for suffix in ("crt", "key"):
        (files / f"server.{suffix}").rename(files / f"tls.{suffix}")

    assert server_material(pki=files).trust is None
    with pytest.raises(MaterialError, match=r"ca\.crt: does not exist"):
        client_material(pki=files)


def test_system_is_the_trust_of_the_operating_system(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files / "servers.crt"))

    assert client_material(ca=Path("system")).trust == SERVERS.trust

    monkeypatch.setenv("SSL_CERT_FILE", str(files / "missing"))
    monkeypatch.setattr(
        ssl, "get_default_verify_paths", lambda: SimpleNamespace(cafile=None, capath=None)
    )
    with pytest.raises(ConfigurationError, match="no file with the trust anchors") as caught:
        client_material(ca=Path("system"))
    assert "SSL_CERT_FILE" in str(caught.value.hint)


def test_a_key_that_every_user_can_read_is_warned_of(files: Path) -> None:
    key = files / "server.key"
    key.chmod(0o604)

    material = server_material(cert=files / "server.crt", key=key)

    assert material.warnings == (
        f"every user of this machine can read the private key {key}: chmod 600 {key}",
    )


def test_a_mounted_key_has_the_mode_of_its_mount(secret: Path) -> None:
    (secret / "tls.key").resolve().chmod(0o644)

    assert server_material(pki=secret).warnings == ()


# --- passwords -----------------------------------------------------------------------------------


@pytest.fixture
def locked(files: Path) -> Path:
    """`server.p12` and `locked.key`, with the password in `word`."""
    (files / "server.p12").write_bytes(LOCALHOST.pkcs12(b"x"))
    (files / "word").write_bytes(b"x\n")
    (files / "word").chmod(0o600)
    return files


def test_a_password_or_its_file_opens_pkcs12_and_an_encrypted_key(locked: Path) -> None:
    word = locked / "word"
    for material in (
        server_material(cert=locked / "server.p12", password=b"x"),
        server_material(cert=locked / "server.p12", password=lambda: "x"),
        server_material(cert=locked / "server.p12", password_file=word),
        server_material(cert=locked / "server.crt", key=locked / "locked.key", password_file=word),
        client_material(cert=locked / "server.p12", ca=locked / "servers.crt", password_file=word),
    ):
        assert material.credential == LOCALHOST
        assert not any("password" in warning for warning in material.warnings)
        assert material.files.password in (None, word)


def test_a_password_is_asked_for_once_and_only_if_it_is_needed(locked: Path) -> None:
    asked = list[str]()

    def ask() -> str:
        asked.append("")
        return "wrong"

    server_material(cert=locked / "server.crt", key=locked / "server.key", password=ask)
    assert not asked
    # What does not open may be half written: it is read more than once.
    with pytest.raises(PasswordError):
        server_material(cert=locked / "server.p12", password=ask)
    assert len(asked) == 1


def test_a_missing_password_is_asked_for_in_the_words_of_the_reader(locked: Path) -> None:
    def hint(vocabulary: Vocabulary) -> str | None:
        with pytest.raises(PasswordError) as caught:
            server_material(cert=locked / "server.p12", vocabulary=vocabulary)
        return caught.value.hint

    assert hint(API) == "give its password: password or password_file"
    assert hint(COMMAND_LINE) == "give its password: --password-file FILE"
    # It has no setting for a password.
    assert "convert it: openssl pkcs12" in (hint(CONFIGURATION) or "")


def test_of_a_wrong_password_the_hint_tries_the_file(locked: Path) -> None:
    word = locked / "word"
    word.write_bytes(b"y")

    with pytest.raises(PasswordError, match="does not open this PKCS#12 file") as caught:
        server_material(cert=locked / "server.p12", password_file=word)

    correct, _, command = (caught.value.hint or "").partition(", then try it: ")
    assert correct == f"correct the first line of {word}"
    assert subprocess.run(command.split(), capture_output=True).returncode != 0
    word.write_bytes(b"x")
    assert subprocess.run(command.split(), capture_output=True).returncode == 0


def test_a_password_file_is_warned_of_where_it_is_open_or_useless(locked: Path) -> None:
    word = locked / "word"
    word.chmod(0o644)

    material = server_material(cert=locked / "server.p12", password_file=word)
    assert material.warnings == (
        f"every user of this machine can read the password file {word}: chmod 600 {word}",
    )
    word.chmod(0o600)
    key = locked / "server.key"
    key.chmod(0o600)
    material = server_material(cert=locked / "server.crt", key=key, password_file=word)
    assert material.warnings == (f"{key} needs no password: password_file has no effect",)


def test_what_does_not_go_with_a_password_is_refused(locked: Path) -> None:
    word, p12 = locked / "word", locked / "server.p12"
    with pytest.raises(ConfigurationError, match="exclude each other"):
        server_material(cert=p12, password_file=word, password=b"x")
    with pytest.raises(ConfigurationError, match="password_file has no effect without cert"):
        client_material(ca=locked / "servers.crt", password_file=word)
    with pytest.raises(
        ConfigurationError, match=r"server\.p12 is a PKCS#12 file, which has the key"
    ):
        server_material(cert=p12, key=locked / "server.key", password_file=word)
    with pytest.raises(ConfigurationError, match="pki and password_file exclude each other"):
        server_material(pki=locked, password_file=word)


def test_a_root_that_is_sent_is_needless_where_it_is_a_trust_anchor(files: Path) -> None:
    chain = files / "chain.pem"
    chain.write_bytes(LOCALHOST.certificate_pem + SERVERS.trust.pem * 2)

    def warnings(client_ca: str) -> tuple[str, ...]:
        ca, key = files / client_ca, files / "server.key"
        return server_material(cert=chain, key=key, client_ca=ca).warnings

    assert warnings("clients.crt") == ()
    (warning,) = warnings("servers.crt")
    assert warning.startswith("our chain has the root '")
    assert warning.endswith("any other must not take it from us; leave it out")


# --- folders, and what else is in a file ---------------------------------------------------------


def test_a_folder_of_cas_is_trust(files: Path) -> None:
    folder = files / "folder"
    (folder / "clients.pem").write_bytes(CLIENTS.trust.pem)
    (folder / "servers.crt").write_bytes(SERVERS.trust.pem)

    material = client_material(ca=folder)

    assert material.trust is not None
    assert {*material.trust.anchors} == {*CLIENTS.trust.anchors, *SERVERS.trust.anchors}
    assert material.files.anchors == folder
    assert material.warnings == ()


def test_system_may_be_a_folder(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "folder" / "servers.crt").write_bytes(SERVERS.trust.pem)
    monkeypatch.setattr(
        ssl,
        "get_default_verify_paths",
        lambda: SimpleNamespace(cafile=None, capath=str(files / "folder")),
    )

    assert client_material(ca=Path("system")).trust == SERVERS.trust


def block(label: str) -> bytes:
    return f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode()


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        (ALICE.key_pem, "a private key"),
        (block("CERTIFICATE REQUEST"), "a certificate signing request"),
        (block("PUBLIC KEY"), "a public key"),
        (block("DH PARAMETERS") * 2, "DH PARAMETERS"),
    ],
)
def test_what_is_not_used_of_a_file_is_named_with_its_line(
    files: Path, extra: bytes, what: str
) -> None:
    (files / "more.pem").write_bytes(SERVERS.trust.pem + extra)
    line = SERVERS.trust.pem.count(b"\n") + 1

    assert client_material(ca=files / "more.pem").warnings == (
        f"{files / 'more.pem'}, line {line}: {what}, which is not used",
    )


def test_a_certificate_and_a_key_are_not_left_over_where_they_are_used(files: Path) -> None:
    both, key = files / "both.pem", files / "server.key"
    both.write_bytes(block("EC PARAMETERS") + LOCALHOST.key_pem + LOCALHOST.certificate_pem)

    assert server_material(cert=both).warnings == ()
    line = 4
    assert server_material(cert=both, key=key).warnings == (
        f"{both}, line {line}: a private key, which is not used",
    )


def test_crls_among_the_anchors_are_used_and_said_to_be(files: Path) -> None:
    bundle = files / "bundle.pem"
    bundle.write_bytes(SERVERS.trust.pem + SERVERS.crl().public_bytes(Encoding.PEM))

    material = client_material(ca=bundle)

    assert material.trust is not None
    assert len(material.trust.crls) == 1
    assert material.warnings == (
        f"{bundle}: there are CRLs in it, so revocation is checked, and needs one of each CA",
    )
    assert client_material(ca=bundle, crl=bundle).warnings == ()


@pytest.mark.parametrize(
    ("bundle", "anchors"),
    [("credentialbundle.pem", "ca.crt"), ("credential-bundle.pem", "trust-bundle.pem")],
)
def test_a_pod_certificate_has_its_key_first_and_may_be_a_folder(
    tmp_path: Path, bundle: str, anchors: str
) -> None:
    chain = SERVERS.intermediate().issue(Request.server("localhost"))
    contents = {bundle: chain.key_pem + chain.certificate_pem, anchors: CLIENTS.trust.pem}
    mount(pod := tmp_path / "pod", contents)

    for material in (
        server_material(cert=pod / bundle, client_ca=pod / anchors),
        server_material(pki=pod),
    ):
        assert (material.credential, material.trust) == (chain, CLIENTS.trust)
        assert material.files[:3] == (pod / bundle, pod / bundle, pod / anchors)
        assert material.warnings == ()
    assert client_material(pki=pod, no_cert=True).credential is None

    renewed = SERVERS.issue(Request.server("localhost"))
    contents[bundle] = renewed.key_pem + renewed.certificate_pem
    mount(pod, contents)
    assert server_material(pki=pod).credential == renewed


def test_a_pod_certificate_without_a_trust_bundle_is_enough_for_a_server_only(
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "credentialbundle.pem"
    bundle.write_bytes(LOCALHOST.key_pem + LOCALHOST.certificate_pem)
    bundle.chmod(0o600)

    assert server_material(pki=tmp_path).trust is None
    with pytest.raises(MaterialError, match=r"ca\.crt: does not exist"):
        client_material(pki=tmp_path)
