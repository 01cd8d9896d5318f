"""Replace a CA step by step, and refuse a step that would lock a peer out.

:mod:`mtls_echo_pki.directory.ca_state` has the order and its reason. Here each step is taken, or
refused:

* A step out of order is refused, with where one stands and what comes next.
* A step that was taken already is not an error: a script that was killed runs it again. That
  holds for the very last step only. *Introduce* after *switch* may mean a third CA, and is
  refused.
* *Retire* is refused while a credential in the directory would be locked out by it. Copies of
  trust elsewhere have to be checked there.

A step for several CAs is checked for all of them before the first is touched. Each then
happens in one rename; if the program is killed between two, the step is run again and finishes.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from msgspec.structs import replace

from mtls_echo_pki.certificates.authority import utcnow
from mtls_echo_pki.certificates.credential import key_id
from mtls_echo_pki.certificates.reading import expiry, serial_number, subject_name
from mtls_echo_pki.certificates.request import KeyType
from mtls_echo_pki.certificates.tbs import is_issued_by
from mtls_echo_pki.directory.ca_folder import CAFolder
from mtls_echo_pki.directory.ca_state import CAGeneration, CAState, RolloverStage
from mtls_echo_pki.directory.crls import with_current_crls
from mtls_echo_pki.directory.layout import ROLES, Role, kind_of
from mtls_echo_pki.directory.ledger import Ledger
from mtls_echo_pki.directory.recovery import after_commit, exclusive
from mtls_echo_pki.directory.store import Store
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError


class Step(enum.Enum):
    """A step of replacing a CA."""

    INTRODUCE = "introduce"
    SWITCH = "switch"
    RETIRE = "retire"


# From where a step leads, and to where.
_LEADS = {
    Step.INTRODUCE: (RolloverStage.SETTLED, RolloverStage.INTRODUCED),
    Step.SWITCH: (RolloverStage.INTRODUCED, RolloverStage.SWITCHED),
    Step.RETIRE: (RolloverStage.SWITCHED, RolloverStage.SETTLED),
}


def next_step(stage: RolloverStage) -> Step:
    """Return the only step that can be taken from a stage."""
    return next(step for step, (begin, _) in _LEADS.items() if begin is stage)


def take(store: Store, step: Step, roles: Sequence[Role] = ROLES) -> tuple[Role, ...]:
    """Take a step for the CAs of some roles.

    Returns:
        The roles for which it was taken now; those for which it had been are not among them.

    Raises:
        DirectoryError: If it is out of order for a role, would lock a peer out, or
            cannot be written. Unless the hint says otherwise, nothing was changed.
        MaterialError: If a CA's files cannot be used.
    """
    with exclusive(store.path) as pki:
        concerned: list[CAFolder] = []
        for role in roles:
            ca = pki.ca_folder(role)
            if ca not in concerned:
                concerned.append(ca)
        apart = len({ca.state.stage for ca in concerned}) > 1
        ahead = [ca for ca in concerned if not _is_taken(step, ca, apart)]
        if step is Step.RETIRE:
            _refuse_to_lock_out(store, ahead)
        # All that may fail for a reason of its own comes before the first change.
        plans = [(ca, _after(step, ca)) for ca in ahead]
        command = f"rollover {shlex.quote(str(store.path))} {step.value}"
        for number, (ca, state) in enumerate(plans):
            with after_commit(store.path, again=command) if number else nullcontext():
                _make(step, ca, state)
            with after_commit(store.path):
                ca.publish()
    return tuple(role for role in ROLES for ca in ahead if role in ca.roles)


def _make(step: Step, ca: CAFolder, state: CAState) -> None:
    """Take a step. What the ledger has to know is written first: too early does no harm."""
    if step is Step.INTRODUCE and ca.ledger.crls:
        # The new CA's CRLs, before a verifier needs them. If we are killed here, they are of no CA
        # in force, and the next ones leave them out.
        after = replace(ca, state=state)
        ca.write_ledger(with_current_crls(after, ca.ledger, lenient=True))
    if step is Step.RETIRE:
        ca.write_ledger(_with_retired(ca.ledger, state))
    ca.write_state(state)


def issued_by_previous(store: Store, ca: CAFolder) -> list[str]:
    """Return the credentials that are no longer accepted once the previous CA is retired.

    Those are not counted that are not accepted now: expired, revoked, or bad on purpose.
    """
    previous = ca.state.previous
    if previous is None:
        return []
    void = ca.ledger.void
    found: list[str] = []
    for name in store.names():
        try:
            certificate = store.credential(name).certificate
        except (MaterialError, DirectoryError):
            continue  # it does not work now
        if (
            is_issued_by(certificate, previous.authority.certificate)
            and expiry(certificate) > utcnow()
            and f"{serial_number(certificate):x}" not in void
        ):
            found.append(name)
    return found


def renewals(path: Path, names: Sequence[str]) -> str:
    """Return the commands that renew credentials, to be pasted."""
    place = shlex.quote(str(path))
    return "; ".join(f"mtls-echo pki renew {place} {name} --same-key" for name in names)


def _is_taken(step: Step, ca: CAFolder, apart: bool) -> bool:
    """Return whether a step has been taken already; raise if it is not its turn."""
    state = ca.state
    begin, end = _LEADS[step]
    if state.stage is begin:
        return False
    if state.stage is end and (step is not Step.RETIRE or state.retired):
        return True
    # CAs at different stages have different next steps.
    option = f" --authority {ca.roles[0]}" if apart else ""
    raise DirectoryError(
        f"{ca.folder}: cannot {step.value}: {situation(state)}",
        f"what comes next: mtls-echo pki rollover {shlex.quote(str(ca.pki))} "
        f"{next_step(state.stage).value}{option}",
    )


def situation(state: CAState) -> str:
    """Return which CA issues and which are trusted, in words."""
    present = _called(state.present)
    if state.next is not None:
        return f"{present} issues, {_called(state.next)} is trusted as well"
    if state.previous is not None:
        return f"{present} issues, {_called(state.previous)} is still trusted"
    return f"{present} issues, and no other is trusted"


def _called(generation: CAGeneration) -> str:
    return str(subject_name(generation.anchor))


def _after(step: Step, ca: CAFolder) -> CAState:
    state = ca.state
    try:
        match step:
            case Step.INTRODUCE:
                key_type = KeyType.of(state.present.authority.key)
                below = len(state.present.certificates) > 1
                return state.introduce(
                    CAGeneration.new(kind_of(ca.roles), key_type, intermediate=below)
                )
            case Step.SWITCH:
                return state.switch()
            case Step.RETIRE:
                return state.retire()
    except ValueError as error:
        raise DirectoryError(
            f"{ca.folder}: cannot {step.value}: {error}",
            "a root's key that was taken away is needed for this: put it back as root.key",
        ) from error


def _with_retired(ledger: Ledger, state: CAState) -> Ledger:
    retired = [*ledger.retired, *(key_id(each) for each in state.retired)]
    return replace(ledger, retired=tuple(dict.fromkeys(retired)))


def _refuse_to_lock_out(store: Store, concerned: Sequence[CAFolder]) -> None:
    names = [name for each in concerned for name in issued_by_previous(store, each)]
    if names:
        old = [_called(each.state.previous) for each in concerned if each.state.previous]
        raise DirectoryError(
            f"{store.path}: cannot retire {' and '.join(old)}: still in use from there: "
            f"{', '.join(names)}",
            f"renew first: {renewals(store.path, names)}",
        )
