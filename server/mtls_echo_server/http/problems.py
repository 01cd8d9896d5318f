"""What is wrong with a request, in one sentence: as JSON (RFC 9457), or as a page."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

from mtls_echo_server.http.site import HTTPResponse


def problem(
    status: int, why: str, headers: tuple[tuple[str, str], ...] = (), *, html: bool = False
) -> HTTPResponse:
    """The response that refuses a request."""
    title = HTTPStatus(status).phrase
    if html:
        from mtls_echo_server.http.markup import page, tag  # whose style is not for programs

        content = tag("main", tag("h1", f"{status} {title}"), tag("p", why, class_="lead bad"))
        return page(title, content, status=status, headers=headers)
    response = HTTPResponse.json({"status": status, "title": title, "detail": why}, status)
    return replace(response, kind="application/problem+json", headers=headers)
