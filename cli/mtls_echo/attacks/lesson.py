"""The scenes, what each of them teaches, and what mutual TLS does not prevent.

For readers who have heard of passwords and of little else.
"""

from __future__ import annotations

from mtls_echo.attacks.guessing import KEY_STEPS, years
from mtls_echo.attacks.parties import BANK, LOOKALIKE
from mtls_echo.attacks.scenes import AttackScene, eavesdrop, guess, intercept, phish, stuff

INTRODUCTION = (
    "Without mutual TLS a server that has to know who its clients are usually asks for a name and"
    " a password. Mallory, an attacker, tries five ways into alice's account at her bank: the"
    " first without TLS and with it, the others once with a password and once with mutual TLS.",
    "Connections, certificates and attacks are real, and on this machine only.",
)

_STEPS_PER_SECOND = 1e18  # a billion computers, a billion steps each
_AGE_OF_THE_UNIVERSE = 13.8e9
_YEARS = years(KEY_STEPS, _STEPS_PER_SECOND)
# In hundreds: what it is made of is not known better.
_UNIVERSES = round(_YEARS / _AGE_OF_THE_UNIVERSE, -2)

SCENES = (
    AttackScene(
        title="listening on the way",
        story="Alice logs in at her bank over a network that is not hers, in a café for example."
        " Mallory runs it, and reads everything that passes.",
        headings=("without TLS", "with TLS, mutual or not"),
        why="The two ends of a TLS connection agree on keys that never cross the network. Against"
        " this attack TLS is enough by itself. The other four go around it.",
        cause=None,
        play=eavesdrop,
    ),
    AttackScene(
        title="phishing",
        story=f"Alice follows a link to {LOOKALIKE}. The name and the site are mallory's. The site"
        " has a valid certificate for that name, so alice's client finds nothing wrong. And it"
        f" looks like {BANK}, since it hands everything on to the real one and back.",
        why="A password is the secret itself: it works for anyone who has heard it. A private key"
        " is never sent. What alice's client sends is a signature, made with the key over this one"
        " handshake: over random numbers that both sides chose for it, and over the certificate"
        " that the client was shown, which is mallory's. To get into the bank, mallory needs"
        " alice's signature over another handshake, the one between mallory and the bank. It has"
        " none, and without the private key it cannot make one. Nor does it help to let alice and"
        " the bank shake hands and only pass the bytes on: alice's client asked for"
        f" {LOOKALIKE}, is shown a certificate for {BANK}, and refuses.",
        cause="key-not-owned",
        play=phish,
    ),
    AttackScene(
        title="a list of leaked passwords",
        story="Another site was broken into, and the names and passwords of its customers are for"
        " sale. Alice uses the same password there and at her bank. (This is called credential"
        " stuffing.)",
        why="With mutual TLS a client without a certificate is refused in the handshake, and"
        " nothing that it sends is read. Nor can anything leak that would help: no server ever has"
        " alice's private key.",
        cause="no-client-certificate",
        play=stuff,
    ),
    AttackScene(
        title="guessing",
        story="Mallory has no list, but time. Alice's password is a common one. With mutual TLS"
        " mallory has her certificate, since certificates are public, and guesses the key.",
        why="People choose passwords that they can remember, and others can guess those. A key is"
        " a random number. The best method known to find one of this kind (P-256) takes about"
        " 2^128 steps: a billion computers that take a billion steps a second each would need"
        f" {_YEARS / 1e12:.0f} trillion years, some {_UNIVERSES:.0f} times the age"
        " of the universe.",
        cause="key-not-owned",
        play=guess,
    ),
    AttackScene(
        title="a proxy in between",
        story=f"Alice types the right name, {BANK}. But her device trusts one CA too many, which"
        " an employer or some malware has installed. Mallory is on the path, with a certificate of"
        " that CA for the bank's name. (Without that CA, alice's client would refuse: unknown_ca."
        " Then TLS is enough by itself.)",
        why="Alice's client is deceived both times. The bank is not: with mutual TLS it verifies"
        " who is at the other end of its own handshake, and that is not alice.",
        cause="key-not-owned",
        play=intercept,
    ),
)

NOT_PREVENTED = (
    "**A stolen private key.** With it mallory is alice, until her certificate expires or is"
    " revoked. So keys are best kept in hardware, and certificates short-lived.",
    "**A compromised end.** Malware on alice's device can use her key, and an intruder on the"
    " bank's server reads what the server reads.",
    "**A wrong certificate.** If the bank's CA certifies mallory's key in alice's name, mallory is"
    " alice.",
    "**What an authorised user does.** TLS proves who asks. Whether the request is permitted is"
    " another question, authorisation; and whether it is a mistake, no protocol can tell.",
    "**Deceiving alice.** A look-alike cannot log in as alice, but it can show her what it likes,"
    " and it reads what she types into its pages.",
    "**Silence, and observation.** A host on the path can deliver nothing at all, and it sees who"
    " connects to whom, when, and how much they send.",
)

WHY_THE_WEB_DOES_WITHOUT = (
    "A public web site is for everyone. Its visitors need to know that it is the right site, and"
    " that what passes stays private and unaltered; a certificate of the server is enough for"
    " that. For mutual TLS each visitor would need a certificate on each device. Billions of them"
    " would have to be issued after a proof of identity, renewed, and revoked when a telephone is"
    " lost, by CAs that every site trusts; and each would show the same name to every site.",
    "Within an organisation this is practical. It is its own CA, the clients are its own services"
    " and devices, and programs renew their certificates. On the web, passkeys (WebAuthn) begin to"
    " replace passwords, and stop a phisher by the same idea: a signature, with a key that is"
    " never sent, over the name of the site.",
)
