"""The state of a CA folder while its CA is replaced, in three steps.

Not all peers can be changed in one moment, so for a while some must trust two CAs. The order is
what keeps them connected (A is the present CA, B the new one):

========== ======== =========== ============================= =========================
stage      issues   trusted     files beside ``tls.*``        peers that know only A
========== ======== =========== ============================= =========================
settled    A        A           maybe ``retired.crt``         accept all
introduced A        A and B     ``next.*``                    accept all
switched   B        A and B     ``previous.*``, ``cross.crt`` accept B's by the cross
settled    B        B           ``retired.crt``               must have learnt of B
========== ======== =========== ============================= =========================

*Introduce*: every peer learns to trust B before B issues anything. *Switch*: B issues; what it
issues is sent with ``cross.crt``, B's key certified by A, so that peers that have not learnt yet
still find a path. *Retire*: A is no longer trusted, and its key is destroyed.

The stage is not written down anywhere else: the files of a folder are published as one, so a step
either happened or it did not. ``retired.crt``, a certificate without a key, stays to tell "it was
retired" from "it never began".

With intermediates, each CA is two: the issuing one, and the root above it that is trusted.
The keys of roots are plain files in the same folder, ``root.key`` or ``root-….key``, so that they
can be taken away. They are recognised by their public key, not by their name; they are there
before a step that needs them, and removed after the one that ends their use.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority, utcnow
from mtls_echo_pki.certificates.credential import key_id, pem_of, public_key_id
from mtls_echo_pki.certificates.request import KeyType, PrivateKey
from mtls_echo_pki.files.durable import PUBLIC, read_file, sync_folder, write_file
from mtls_echo_pki.files.pem import parse_certificates, parse_credential, read_stable
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.private_key import parse_key

# The files of the CA that issues, of its successor and of its predecessor.
_NAMES = ("tls", "next", "previous")
FILES = (
    *(f"{name}.{suffix}" for name in _NAMES for suffix in ("crt", "key")),
    *("root.crt", "cross.crt", "retired.crt"),
)
MODES = {name: PUBLIC for name in FILES if name.endswith(".crt")}

# The key of a root that was made by a step: told by a part of its key_id. Of the first: root.key.
_ROOT_KEY = re.compile(r"root-([0-9a-f]{16})\.key")
_FIRST_ROOT_KEY = "root.key"


class RolloverStage(enum.Enum):
    """Where the replacement of a CA stands; see the module's table."""

    SETTLED = "settled"
    INTRODUCED = "introduced"
    SWITCHED = "switched"


class CAGeneration(msgspec.Struct, frozen=True):
    """An issuing CA and the root above it, which may be one and the same.

    The root is None if it is another, whose key was taken away.
    """

    authority: Authority
    root: Authority | None

    @classmethod
    def new(cls, kind: str, key_type: KeyType, *, intermediate: bool) -> CAGeneration:
        """Make a CA with a name of its own.

        Two that share a name but not a key would turn each mix-up into a case of impersonation.

        Args:
            kind: What it is called for: "servers", say; or nothing.
            key_type: Of its keys.
            intermediate: Put an issuing CA below the root.
        """
        prefix, tag = f"mtls-echo {kind} ".replace("  ", " "), secrets.token_hex(3)
        root = Authority.root(f"{prefix}CA {tag}", key_type=key_type)
        if not intermediate:
            return cls(root, root)
        name = f"{prefix}issuing CA {tag}"
        return cls(root.intermediate(name, key_type=key_type), root)

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The issuing CA's certificate, and those above it, the root last."""
        return self.authority.path

    @property
    def anchor(self) -> x509.Certificate:
        """The root."""
        return self.certificates[-1]

    @property
    def signers(self) -> tuple[Authority | x509.Certificate, ...]:
        """The issuing CA and its root; of one whose key was taken away, the certificate."""
        if len(self.certificates) == 1:
            return (self.authority,)
        return (self.authority, self.root or self.anchor)

    def files(self, name: str) -> dict[str, bytes]:
        """Return the contents of its files, which are called ``name``."""
        return {
            f"{name}.crt": self.authority.certificate_pem,
            f"{name}.key": self.authority.key_pem,
        }


class CAState(msgspec.Struct, frozen=True):
    """The present, next and previous CA of a folder: all that the folder publishes.

    Args:
        present: Issues.
        next: Will issue; from *introduce* to *switch*.
        previous: Issued before; from *switch* to *retire*.
        cross: The present root's key, certified by the previous root. None outside of that time,
            and if the previous root had expired: then it is not trusted, with or without.
        retired: The certificates of the last CA that was retired.
    """

    present: CAGeneration
    next: CAGeneration | None = None
    previous: CAGeneration | None = None
    cross: x509.Certificate | None = None
    retired: tuple[x509.Certificate, ...] = ()

    @property
    def stage(self) -> RolloverStage:
        """Where the replacement stands."""
        if self.next is not None:
            return RolloverStage.INTRODUCED
        return RolloverStage.SETTLED if self.previous is None else RolloverStage.SWITCHED

    @property
    def issuing(self) -> Authority:
        """The CA that issues, with the certificate by which A's peers accept it."""
        return dataclasses.replace(
            self.present.authority, cross=(self.cross,) if self.cross else ()
        )

    @property
    def generations(self) -> tuple[CAGeneration, ...]:
        """The CAs in force, the oldest first: a switch then changes no trust."""
        generations = (self.previous, self.present, self.next)
        return tuple(generation for generation in generations if generation is not None)

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        """The roots to be trusted."""
        return tuple(generation.anchor for generation in self.generations)

    def introduce(self, generation: CAGeneration) -> CAState:
        """Return the state in which ``generation`` is trusted as well."""
        return CAState(self.present, next=generation)

    def switch(self) -> CAState:
        """Return the state in which the next CA issues.

        Raises:
            ValueError: If the key of the present root was taken away, which has to certify the
                new one.
        """
        upcoming = self.next
        if upcoming is None or upcoming.root is None:
            raise ValueError("there is no next CA, or the key of its root was taken away")
        cross = None
        if self.present.anchor.not_valid_after_utc > utcnow():
            if self.present.root is None:
                raise ValueError(
                    "the key of the present root, which certifies the new one, was taken away"
                )
            cross = self.present.root.cross_sign(upcoming.root)
        return CAState(upcoming, previous=self.present, cross=cross)

    def retire(self) -> CAState:
        """Return the state in which the previous CA is no longer trusted."""
        assert self.previous is not None  # noqa: S101 - the caller has looked at the stage
        return CAState(self.present, retired=self.previous.certificates)

    def files(self) -> dict[str, bytes]:
        """Return the contents of the folder's files."""
        files = self.present.files("tls")
        if len(self.present.certificates) > 1:
            files["root.crt"] = self.present.anchor.public_bytes(Encoding.PEM)
        if self.next is not None:
            files |= self.next.files("next")
        if self.previous is not None:
            files |= self.previous.files("previous")
        if self.cross is not None:
            files["cross.crt"] = self.cross.public_bytes(Encoding.PEM)
        if self.retired:
            files["retired.crt"] = pem_of(self.retired)
        return files


def read_ca_state(folder: Path) -> CAState:
    """Read a CA's folder, of one publication.

    Raises:
        MaterialError: If its files cannot be used.
    """
    required = (folder / "tls.crt", folder / "tls.key")
    optional = tuple(folder / name for name in FILES if folder / name not in required)
    return read_stable(required + optional, lambda contents: _parse(folder, contents), optional)


def write_root_keys(folder: Path, state: CAState) -> None:
    """Write those keys of roots that are not there yet, before a step that needs them.

    Raises:
        OSError: If they cannot be written.
    """
    present = _root_keys(folder)
    for generation in state.generations:
        if generation.root is not None and generation.root != generation.authority:
            identity = key_id(generation.anchor)
            if identity not in present:
                # `root.key` stays free: the first root's key can be restored under that name.
                first = len(state.generations) == 1 and not state.retired
                name = _FIRST_ROOT_KEY if first else f"root-{identity[:16]}.key"
                write_file(folder / name, generation.root.key_pem, 0o600)
                sync_folder(folder)


def remove_root_keys(folder: Path, state: CAState) -> None:
    """Remove the keys of roots that were retired, or never came into force.

    Raises:
        OSError: If one cannot be removed.
    """
    in_force = {key_id(anchor) for anchor in state.anchors}
    retired = {key_id(certificate) for certificate in state.retired}
    for path in sorted(folder.glob("root-*.key")):
        named = _ROOT_KEY.fullmatch(path.name)
        if named and not any(identity.startswith(named[1]) for identity in in_force):
            path.unlink()
    for identity, (path, _) in _root_keys(folder).items():
        if identity in retired and identity not in in_force:
            path.unlink()


def _root_keys(folder: Path) -> dict[str, tuple[Path, PrivateKey]]:
    """Read the keys of roots that lie in a folder, each by the digest of what it is the key of."""
    found: dict[str, tuple[Path, PrivateKey]] = {}
    for path in sorted(folder.glob("root*.key")):
        try:
            key = parse_key(read_file(path), path=path)
        except (OSError, MaterialError):
            continue  # what needs it will say so
        found[public_key_id(key.public_key())] = (path, key)
    return found


def _parse(folder: Path, contents: Mapping[Path, bytes]) -> CAState:
    roots = _root_keys(folder)
    present, upcoming, previous = (_generation(folder, name, contents, roots) for name in _NAMES)
    if upcoming is not None and previous is not None:
        raise MaterialError(
            folder,
            "holds both a next and a previous CA, which no step leaves",
            "restore the folder from a backup",
        )
    certificates = {
        name: tuple(parse_certificates(contents[folder / name], path=folder / name))
        for name in ("cross.crt", "retired.crt")
        if folder / name in contents
    }
    return CAState(
        cast("CAGeneration", present),  # its files are required
        upcoming,
        previous,
        next(iter(certificates.get("cross.crt", ())), None),
        certificates.get("retired.crt", ()),
    )


def _generation(
    folder: Path,
    name: str,
    contents: Mapping[Path, bytes],
    roots: Mapping[str, tuple[Path, PrivateKey]],
) -> CAGeneration | None:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if certificate not in contents:
        return None
    if key not in contents:
        raise MaterialError(key, "does not exist", "restore it from a backup")
    read = parse_credential(
        contents[certificate], contents[key], certificate_path=certificate, key_path=key
    )
    authority = Authority(read.certificate, read.key, read.chain)
    if not read.chain:
        return CAGeneration(authority, authority)
    _, root_key = roots.get(key_id(read.chain[-1]), (None, None))
    return CAGeneration(
        authority, Authority(read.chain[-1], root_key) if root_key is not None else None
    )
