"""The cases of `mtls-echo probe` as a list, and as a shell completes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mtls_echo.console import wrap

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def list_cases() -> list[str]:
    """Every case, what it is, and what it would prove."""
    from mtls_echo.probing.handshakes import HANDSHAKES
    from mtls_echo.probing.identities import IDENTITIES
    from mtls_echo.probing.meanings import CLASSES, differs

    lines: list[str] = []
    for title, slugs in (("identities", IDENTITIES), ("handshakes", HANDSHAKES)):
        lines += [title] if not lines else ["", title]
        for slug in slugs:
            lines.append(f"  {slug} ({CLASSES[slug].cases[slug]})")
            for text in (f"{differs(slug)}.", CLASSES[slug].meaning):
                lines += wrap(f"      {text}", 80)
    return lines


def complete_cases(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """The cases whose names begin so, with what they are."""
    from click.shell_completion import CompletionItem

    from mtls_echo.probing.handshakes import HANDSHAKES
    from mtls_echo.probing.identities import IDENTITIES
    from mtls_echo.probing.meanings import differs

    found = (slug for slug in (*IDENTITIES, *HANDSHAKES) if slug.startswith(begun))
    return [CompletionItem(slug, help=differs(slug)) for slug in found]
