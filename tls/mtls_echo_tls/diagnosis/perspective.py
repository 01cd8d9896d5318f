"""The catalogue's texts, completed for their reader: the peer, the server, or neither side.

The same cause reads differently from the two ends ("our certificate has expired", "its
certificate has expired"), and a certificate in the middle of a path is named with its CA. The
texts have places for all that (`mtls_echo_tls.causes`); `Perspective` fills them for a reader on
one side, `in_third_person` for a reader on neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from mtls_echo_tls.causes import cause_of
from mtls_echo_tls.diagnosis.report import FaultFound
from mtls_echo_tls.diagnosis.tables import RULE_OF_VERIFY_CODE, SHOWN_BESIDE
from mtls_echo_tls.fault_causes import cause_of_fault, joined_fixes
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Cause, Slug
from mtls_echo_tls.vocabulary import API, Vocabulary

# What stands in the texts for a CA or a comparison that is not known: nothing.
_UNNAMED = {"signer": "", "the_signer": "", "of_signer": "", "why": ""}


class Perspective(msgspec.Struct, frozen=True):
    """Completes a cause's texts for the reader on one side.

    Who was refused owns the fault, unless another owner is given; when neither side refused, the
    texts name no owner. `about` has, for causes that the path does not show, where in the path
    they would be.
    """

    side: Side
    rejected_by: Side | None
    owner: Side | None = None
    vocabulary: Vocabulary = API
    faults: Sequence[FaultFound] = ()
    reason: str | None = None
    about: Sequence[FaultFound] = ()

    @property
    def peer(self) -> Side:
        """The other side."""
        return peer_of(self.side)

    @property
    def reader_owns(self) -> bool:
        """Whether the fault lies on the reader's side."""
        if self.owner is not None:
            return self.owner == self.side
        return self.rejected_by != self.side

    def text(self, template: str, fault: FaultFound | None = None) -> str:
        """A text of the catalogue, with the sides named as the reader would name them."""
        ours = self.reader_owns
        places: dict[str, str] = {
            **_UNNAMED,
            "it": "we" if ours else "it",
            "its": "our" if ours else "its",
            "owner": self.side if ours else self.peer,
            "verifier": self.peer if ours else self.side,
            "verifiers": f"the {self.peer}'s" if ours else "our",
            "ca": _anchors(self.vocabulary)[self.peer if ours else self.side],
        }
        if fault is not None:
            whose = "our" if ours else f"the {self.peer}'s"
            places |= _fault_places(fault, places["its"], whose, self.vocabulary, places["ca"])
        return self.vocabulary.complete(template, **places)

    def clause(self, slug: Slug, verify_code: int | None = None) -> str:
        """The clause that names this cause."""
        fault = self.fault(slug, verify_code)
        return self.text(texts_of(slug, fault, verify_code, self.reason).clause, fault)

    def fault(self, slug: Slug, verify_code: int | None = None) -> FaultFound | None:
        """The fault that this cause is about, or would be."""
        found = fault_of(slug, self.faults, verify_code)
        return fault_of(slug, self.about) if found is None else found

    def remedy(self, cause: Cause, fault: FaultFound | None = None) -> str:
        """What the reader can do about it."""
        return self.text(cause.owner if self.reader_owns else cause.verifier, fault)


def fault_of(
    slug: Slug, faults: Iterable[FaultFound], verify_code: int | None = None
) -> FaultFound | None:
    """The fault that a cause is about: of several, that which OpenSSL meets first.

    Its `fix` is all that a new certificate must have in place of the one at fault.
    """
    every = list(faults)
    same = [fault for fault in every if fault.slug == slug]
    kinds = SHOWN_BESIDE.get(verify_code or 0, frozenset())
    same.sort(key=lambda fault: fault.variant not in kinds)
    if slug.endswith("-authority") and slug != "not-an-authority":
        same.reverse()  # dates are checked from the anchor down
    said = RULE_OF_VERIFY_CODE.get(verify_code or 0, "")
    found = next((fault for fault in same if said in fault.detail), same[0] if same else None)
    if found is None:
        return None
    beside = ((fault.slug, fault.fix) for fault in every if fault.depth == found.depth)
    return replace(found, fix=joined_fixes(slug, found.fix, beside))


def texts_of(
    slug: Slug, fault: FaultFound | None, verify_code: int | None, reason: str | None = None
) -> Cause:
    """The texts for a cause: those of the fault in the path, where it has its own."""
    if fault is not None:
        in_ca = fault.depth > 0 and fault.subject is not None
        own = cause_of_fault(slug, in_ca=in_ca, in_root=fault.root, variant=fault.variant)
        if own is not None:
            return own
    return cause_of(slug, verify_code, reason)


def _fault_places(
    fault: FaultFound, its: str, whose: str, vocabulary: Vocabulary, anchors: str
) -> dict[str, str]:
    """What the places of a fault's own texts stand for (`mtls_echo_tls.fault_causes`)."""
    subject, above = f"“{fault.subject}”", f"“{fault.issuer}”"
    bearer, fix = f"the {'root' if fault.root else 'intermediate'} {subject}", fault.fix
    if fault.depth == 0 or fault.subject is None:
        holder, reissue = f"{its} certificate", f"have {whose} certificate reissued {fix}"
    elif fault.root:
        holder = f"{bearer}, above {its} certificate,"
        reissue = (
            f"have {bearer} made anew {fix}, with the same name and key, and loaded in place of"
            f" the present one ({anchors}{vocabulary.file})"
        )
    else:
        holder = f"{bearer}, above {its} certificate,"
        reissue = (
            f"have {bearer} reissued by {above} {fix}, for the same key, and put in place of the"
            " present one where that is sent or trusted"
        )
    named = {"signer": f"{above}, ", "the_signer": f", {above},", "of_signer": f"of {above} "}
    return {
        **(named if fault.issuer else {}),
        "why": f": {fault.detail}" if fault.detail else "",
        "subject": subject,
        "fix": fix,
        "bearer": bearer, "its_bearer": holder, "above": above, "detail": fault.detail,
        "reissue": reissue.replace("  ", " ").replace(" ,", ","),
    }  # fmt: skip


def _anchors(vocabulary: Vocabulary) -> dict[Side, str]:
    """Each side's setting for its trust anchors."""
    return {"client": vocabulary.server_trust, "server": vocabulary.client_trust}


def in_third_person(
    text: str,
    owner: Side | None,
    *,
    named: bool = False,
    vocabulary: Vocabulary = API,
    fault: FaultFound | None = None,
) -> str:
    """A text of the catalogue for a reader who may be either side, or neither.

    The owner is None when the fault may be either's; `named`, if it has been named just before.
    """
    it = "it" if named else f"the {owner}" if owner else "one side"
    verifier = peer_of(owner) if owner else None
    anchors = _anchors(vocabulary)
    places: dict[str, str] = {
        **_UNNAMED,
        "it": it,
        "its": "its" if named or "{it}" in text else f"{it}'s",
        "owner": owner or "client or server",
        "verifier": verifier or "other side",
        "verifiers": f"the {verifier or 'other side'}'s",
        "ca": anchors[verifier] if verifier else " or ".join(anchors.values()),
    }
    if fault is not None:
        places |= _fault_places(fault, places["its"], f"the {owner}'s", vocabulary, places["ca"])
    return vocabulary.complete(text, **places)
