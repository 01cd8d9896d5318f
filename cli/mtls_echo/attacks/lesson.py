"""The scenes, what each of them teaches, and what mutual TLS does not prevent.

For readers who have heard of passwords and of little else.
"""

from __future__ import annotations

from mtls_echo.attacks.guessing import KEY_STEPS, years
from mtls_echo.attacks.parties import BANK, LOOKALIKE
from mtls_echo.attacks.scenes import AttackScene, eavesdrop, guess, intercept, phish, stuff

INTRODUCTION = (
    "A TLS connection begins with a handshake: the server presents a certificate, which says whose"
    " it is, and signs the handshake with the private key that belongs to it. The client"
    " verifies both. In mutual TLS the client does the same the other way round; otherwise it has"
    " a password to send, if anything.",
    "Mallory attacks alice and her bank in five ways, each of them once with a password and once"
    " with mutual TLS. Connections, certificates and attacks are real, and on this machine only.",
)

_STEPS_PER_SECOND = 1e18  # a thousand million computers, a thousand million steps each
_AGE_OF_THE_UNIVERSE = 13.8e9
_YEARS = years(KEY_STEPS, _STEPS_PER_SECOND)

SCENES = (
    AttackScene(
        title="listening on the way",
        story="Alice logs in at her bank over a network that is not hers, in a café for example."
        " Mallory runs it, and reads everything that passes.",
        headings=("without TLS", "with TLS, mutual or not"),
        why="Both ends of a TLS connection agree on keys that never cross the network. Against"
        " this attack TLS is enough by itself. The other four go around it.",
        cause=None,
        play=eavesdrop,
    ),
    AttackScene(
        title="phishing",
        story=f"Alice follows a link to {LOOKALIKE}. That name is mallory's, and so is the site,"
        " with a certificate for it that is perfectly good: her client checks it and finds nothing"
        f" wrong. The site looks like {BANK}, since it hands everything on to the real one.",
        why="A password is the secret itself: it works for anyone who has heard it. A private key"
        " is never sent. What alice's client sends is a signature made with it, and the signature"
        " is over this one handshake: over random numbers of both sides, and over the certificate"
        " that it was shown, which is mallory's. To enter the bank mallory needs alice's signature"
        " over another handshake, its own with the bank. It has none, and without the key it can"
        " make none.",
        cause="key-not-owned",
        play=phish,
    ),
    AttackScene(
        title="a list of leaked passwords",
        story="Another site was broken into, and the names and passwords of its customers are for"
        " sale. Alice uses the same password there and at her bank. (This is called credential"
        " stuffing.)",
        why="With mutual TLS, who has no certificate is refused in the handshake, before there is"
        " anything to type a password into. And no server ever has alice's private key, so none"
        " can leak it.",
        cause="no-client-certificate",
        play=stuff,
    ),
    AttackScene(
        title="guessing",
        story="Mallory has no list, but time. Alice's password is a common one; and her"
        " certificate is public, only its key is missing.",
        why="People choose passwords that they can remember, and others can guess those. A key is"
        " a random number: the best method known to find one of this kind (P-256) takes about"
        " 2^128 steps. A thousand million computers that take a thousand million steps a second"
        f" each would need {_YEARS / 1e12:.0f} million million years,"
        f" {_YEARS / _AGE_OF_THE_UNIVERSE:.0f} times the age of the universe.",
        cause="key-not-owned",
        play=guess,
    ),
    AttackScene(
        title="a proxy in between",
        story=f"Alice types the right name, {BANK}. But her device trusts one CA too many, which"
        " an employer or some malware has put there. Mallory is on the path, and has a certificate"
        " of that CA for the bank's name. (Were the CA not trusted, alice's client would refuse:"
        " unknown_ca. TLS is enough for that.)",
        why="Alice's client is deceived both times. But the bank is not: with mutual TLS it"
        " verifies that alice is at the other end of its own handshake, and there it finds"
        " mallory. Each end protects both.",
        cause="key-not-owned",
        play=intercept,
    ),
)

NOT_PREVENTED = (
    "A stolen private key. With it mallory is alice, until her certificate is revoked or expires."
    " So keys stay where they were made, best in hardware, and certificates last days, not years.",
    "A compromised end. Malware on alice's device uses her key as she does; a bank that is broken"
    " into has no secrets from the intruder.",
    "A CA that certifies the wrong one. With a certificate in alice's name from the bank's own CA,"
    " and a key to it, mallory is alice too.",
    "Mistakes of those who may make them. TLS says who asks, not whether the order is wise, or"
    " permitted: that is authorisation, and comes after.",
    "Telling secrets to a look-alike. Mallory cannot use alice's login, but whatever she types"
    " into its pages mallory reads.",
    "Silence, and watching. A host on the path can deliver nothing at all, and it sees who speaks"
    " to whom, when, and how much.",
)

WHY_THE_WEB_DOES_WITHOUT = (
    "A public web site is for everyone. Its visitors need to know that it is the right site, and"
    " that what passes stays private and unaltered: a certificate of the server does that. To know"
    " its visitors as mutual TLS does, each of their devices would need a certificate: issued"
    " after proof of identity, renewed, revoked when a telephone is lost, for thousands of"
    " millions of people, by CAs that every site would have to trust; and every site would see the"
    " same name.",
    "Within one organisation none of this is hard. It is its own CA, the clients are its own"
    " services and devices, and programs renew the certificates. That is where mutual TLS is at"
    " home. What the web has begun to use instead of passwords, passkeys (WebAuthn), stops the"
    " phisher by the same idea: a signature with a key that is never sent, and with the name of"
    " the site in what is signed.",
)
