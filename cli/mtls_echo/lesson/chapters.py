"""The chapters of the lesson, in their order.

A chapter is a coroutine function `play`, in a module of its own: it plays its scenes, and returns
what there is to say of them (`mtls_echo.demo.blocks`). Its module is imported when it is played.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from mtls_echo.demo.blocks import Section, Status


@dataclass(frozen=True)
class Chapter:
    """A chapter's name on the command line, what it is about, and its module."""

    name: str
    title: str
    module: str

    async def play(self, status: Status) -> list[Section]:
        """Play its scenes, which takes from a moment to some seconds; ``status`` says of what."""
        play = importlib.import_module(self.module).play
        return await cast("Callable[[Status], Awaitable[list[Section]]]", play)(status)


CHAPTERS = (
    Chapter("tls", "what TLS is, and what it is not", "mtls_echo.lesson.tls"),
    Chapter("certificate", "a certificate looked at", "mtls_echo.lesson.certificate"),
    Chapter("handshake", "the handshake, message by message", "mtls_echo.lesson.handshake"),
    Chapter("mutual", "mutual TLS: the client proves itself too", "mtls_echo.lesson.mutual"),
    Chapter("authority", "a CA of one's own", "mtls_echo.lesson.authority"),
    Chapter("refusals", "refusals, seen from both ends", "mtls_echo.lesson.refusals"),
    Chapter("attacks", "why mutual TLS: five attacks", "mtls_echo.attacks.chapter"),
    Chapter("rotation", "new certificates under load", "mtls_echo.demo.rotation.run"),
    Chapter("endpoints", "many servers, each with its TLS", "mtls_echo.demo.endpoints.run"),
)

# What the whole lesson ends with.
ONWARD = Chapter("next", "what next", "mtls_echo.lesson.onward")

# Not a part of the lesson: what is worth seeing in a minute.
TOUR = Chapter("tour", "the short tour", "mtls_echo.lesson.tour")


def numbered(chapter: Chapter) -> str:
    """Its name, after the number by which the others refer to it: "4. mutual"."""
    return (
        f"{CHAPTERS.index(chapter) + 1}. {chapter.name}" if chapter in CHAPTERS else chapter.name
    )
