"""``pki flaws``, and what ``pki issue --flaw`` prints about the credential it has made.

A bad credential is made to be seen failing, and how to see it is not obvious: which side refuses,
what it has to trust, which of the two programs would not even load it. So the command prints
the two lines to run, for this flaw, on this directory, and what will come of it.

Most flaws are shown by this program on both ends. Two kinds are not: a key or a signature that is
too weak for OpenSSL's default security level, and a private key that is not the certificate's, are
refused here before a connection is made, as they should be. ``openssl`` can be told to present
them. What OpenSSL finds too weak to load differs (3.5 loads a signature over SHA-1), so it is
asked.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtls_echo.console import print_result, wrap

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.certificates.request import Usage
    from mtls_echo_pki.flaws.baseline import ValidationInput
    from mtls_echo_pki.flaws.flaw import Flaw

_ADDRESS = "localhost:8443"
_WIDTH = 80


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def flaws(as_json: bool) -> None:
    """List the deliberately bad credentials that can be issued.

    Each differs from a good one in exactly one respect. With it come the verify code of OpenSSL
    (with X509_STRICT), or its reason where it is not a verdict on a certificate, and the alert
    that the refused side receives. "load" is what keeps OpenSSL from presenting it by default (a
    signature over SHA-1 only before OpenSSL 3.5).

    \b
    examples:
      mtls-echo pki flaws
      mtls-echo pki flaws --json | jq -r '.[] | [.slug, .verify_code] | @tsv'
      mtls-echo pki issue ./pki late late.test --client --flaw expired

    exit status: 0 listed
    """
    from mtls_echo_pki.flaws.flaw import Flaw
    from mtls_echo_pki.flaws.registry import FLAWS

    if as_json:
        import msgspec

        fields = [name for name in Flaw.__dataclass_fields__ if name not in ("prepare", "apply")]
        listed = [{name: getattr(flaw, name) for name in fields} for flaw in FLAWS.values()]
        click.echo(msgspec.json.format(msgspec.json.encode(listed), indent=2).decode())
        return
    print_result("\n".join(line for flaw in FLAWS.values() for line in _entry(flaw)))


def _entry(flaw: Flaw) -> list[str]:
    verdict = flaw.reason if flaw.verify_code is None else f"code {flaw.verify_code}"
    notes = [verdict, flaw.alert]
    if len(flaw.roles) == 1:
        notes.append(f"{flaw.roles[0]}s only")
    if flaw.load_error is not None:
        notes.append(f"load: {flaw.load_error}")
    return [flaw.slug, *wrap(f"    {flaw.title}", _WIDTH), f"    {', '.join(notes)}"]


def advice(directory: Path, name: str, usage: Usage, flaw: Flaw, inputs: ValidationInput) -> str:
    """Return what is wrong with a credential that was issued, and how to see it fail."""
    folder = directory / name
    presenter = usage.value
    verifier = _other(usage)
    verdict = (
        f"reason {flaw.reason}" if flaw.verify_code is None else f"verify code {flaw.verify_code}"
    )
    lines = [
        f"flaw: {flaw.title}",
        f"differs from a good one in: {flaw.differs}",
        f"verdict: the {verifier} refuses with {verdict}, alert {flaw.alert}",
    ]
    for each in flaw.unless:
        if each.role == presenter:
            who = presenter if each.by_presenter else verifier
            version = f"in TLS {each.tls}" if each.tls else "always"
            lines.append(f"  but {version} the {who} gives up with {each.reason}: {each.why}")
    from mtls_echo_pki.files.durable import exists

    # The files next to a credential are what its verifier must trust, in place of trust/.
    beside = [file for file in ("ca.crt", "crl.pem") if exists(folder / file)]
    if beside:
        lines.append(f"for the {verifier}: {', '.join(str(folder / file) for file in beside)}")
    if not inputs.trust.anchors:
        lines.append(f"{folder / 'ca.crt'} is empty: the {verifier} refuses to start with it")
    reason = _reason_not_loaded(flaw, inputs.credential)
    if reason is not None:
        lines.append(f"mtls-echo cannot present it: {reason}; the openssl command can")
    present, meet = _commands(directory, folder, usage, inputs, beside, loads=reason is None)
    first, second = (present, meet) if presenter == "server" else (meet, present)
    lines += ["see it fail:", f"  {first}", f"  {second}"]
    return "\n".join(lines)


def _reason_not_loaded(flaw: Flaw, credential: Credential) -> str | None:
    """Why a credential is not loaded here; None if it is."""
    import ssl

    if flaw.differs == "end-entity: private key":
        return "a key that is not the certificate's is refused when it is read"
    try:
        credential.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except ssl.SSLError as error:
        return f"the OpenSSL used here does not load it ({error.reason})"
    return None


def _other(usage: Usage) -> str:
    return "client" if usage.value == "server" else "server"


def _commands(
    directory: Path,
    folder: Path,
    usage: Usage,
    inputs: ValidationInput,
    beside: list[str],
    *,
    loads: bool,
) -> tuple[str, str]:
    """Return the command of the side with the credential, and that of its verifier."""
    place, certificate, key = map(_quoted, (directory, folder / "tls.crt", folder / "tls.key"))
    trusted = {"ca.crt": "--client-ca" if usage.value == "client" else "--ca", "crl.pem": "--crl"}
    own = directory / _other(usage)
    files = {"--cert": own / "tls.crt", "--key": own / "tls.key"}
    files |= {trusted[file]: folder / file for file in beside}
    # Explicit files and a --pki directory do not mix.
    material = f"--pki {place}"
    if beside:
        material = " ".join(f"{option} {_quoted(file)}" for option, file in files.items())
    if usage.value == "server":
        asked = inputs.reference
        reference = "" if asked == "localhost" else f" --server-name {asked}"
        meet = f"mtls-echo connect {_ADDRESS} hello {material}{reference}"
        present = f"mtls-echo serve --pki {place} --as {folder.name}"
        weak = "openssl s_server -accept 8443 -Verify 1"
    else:
        meet = f"mtls-echo serve {material}"
        present = f"mtls-echo connect {_ADDRESS} hello --pki {place} --as {folder.name}"
        weak = f"openssl s_client -connect {_ADDRESS} -servername localhost"
    if not loads:
        anchors = _quoted(directory / "trust" / f"{_other(usage)}s" / "ca.crt")
        present = (
            f"{weak} -cipher DEFAULT:@SECLEVEL=0 -CAfile {anchors} "
            f"-cert {certificate} -cert_chain {certificate} -key {key}"
        )
    return present, meet


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
