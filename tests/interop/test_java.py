"""Java verifies by other code than OpenSSL, and reads the PKCS#12 files as well."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request, Usage
from tests.interop.foreign_peers import need
from tests.support.pki import END_ENTITIES
from tests.support.timing import TIMEOUT

# One virtual machine for all cases: starting it takes longer than verifying with it.
VERIFIER = """
import java.io.*;
import java.nio.file.*;
import java.security.KeyStore;
import java.security.cert.*;
import java.util.*;
import javax.net.ssl.*;

public class Verifier {
    public static void main(String[] folders) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        for (String folder : folders) {
            Path path = Path.of(folder);
            try {
                KeyStore trust = KeyStore.getInstance("PKCS12");
                trust.load(null, null);
                try (InputStream in = Files.newInputStream(path.resolve("ca.crt"))) {
                    trust.setCertificateEntry("root", factory.generateCertificate(in));
                }
                TrustManagerFactory managers = TrustManagerFactory.getInstance("PKIX");
                managers.init(trust);
                X509TrustManager manager = (X509TrustManager) managers.getTrustManagers()[0];
                KeyStore own = KeyStore.getInstance("PKCS12");
                char[] password = "secret".toCharArray();
                try (InputStream in = Files.newInputStream(path.resolve("own.p12"))) {
                    own.load(in, password);
                }
                if (own.getKey("me", password) == null) throw new Exception("no key in own.p12");
                Certificate[] found = own.getCertificateChain("me");
                X509Certificate[] chain =
                    Arrays.copyOf(found, found.length, X509Certificate[].class);
                String usage = Files.readString(path.resolve("usage"));
                if (usage.equals("server")) manager.checkServerTrusted(chain, "UNKNOWN");
                else manager.checkClientTrusted(chain, "UNKNOWN");
                System.out.println(path.getFileName() + " accepted");
            } catch (Exception error) {
                System.out.println(path.getFileName() + " refused " + error);
            }
        }
    }
}
"""


def test_java_accepts_every_end_entity_and_refuses_an_unknown_ca_and_a_wrong_usage(
    tmp_path: Path,
) -> None:
    need("java")
    expected: dict[str, str] = {}

    def case(
        name: str, authority: Authority, usage: Usage, trust: Authority, verdict: str
    ) -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "ca.crt").write_bytes(trust.trust.pem)
        (folder / "own.p12").write_bytes(credential.pkcs12(b"secret", name="me"))
        (folder / "usage").write_text(usage.value)
        expected[name] = verdict

    for kind, authority in (
        ("root", Authority.root()),
        ("intermediate", Authority.root().intermediate()),
    ):
        for number, parameters in enumerate(END_ENTITIES):
            request = parameters.values[0]
            credential = authority.issue(request)  # type: ignore[arg-type]  # untyped in pytest
            usage = request.usage  # type: ignore[union-attr]
            case(f"{kind}-{number}", authority, usage, authority, "accepted")
    credential = authority.issue(Request.server("a.test"))
    case("untrusted", authority, Usage.SERVER, Authority.root(), "refused")
    case("wrong-usage", authority, Usage.CLIENT, authority, "refused")
    (tmp_path / "Verifier.java").write_text(VERIFIER)

    result = subprocess.run(
        ["java", "Verifier.java", *expected],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert {line.split()[0]: line.split()[1] for line in lines} == expected, result.stdout
