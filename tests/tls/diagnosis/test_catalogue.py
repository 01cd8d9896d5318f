"""Every cause has texts, and they read well to every reader."""

from __future__ import annotations

import pytest

from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_client.endpoints.monitor.remedies import CONFIGURATION
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.diagnosis.perspective import Perspective
from mtls_echo_tls.diagnosis.tables import CAUSES_BY_ALERT, CAUSES_BY_VERIFY_CODE
from mtls_echo_tls.reasons import CAUSES_BY_OWN_ALERT, CAUSES_BY_REASON
from mtls_echo_tls.slugs import Slug
from mtls_echo_tls.vocabulary import API

READERS = [
    pytest.param(
        Perspective(side, rejected_by, vocabulary=vocabulary),
        id=f"{side} reads, {rejected_by} refused",
    )
    for vocabulary in (API, COMMAND_LINE, CONFIGURATION)
    for side in ("client", "server")
    for rejected_by in ("client", "server", None)
]


@pytest.mark.parametrize("words", READERS)
@pytest.mark.parametrize("slug", CAUSES)
def test_every_cause_reads_well_to_every_reader(slug: Slug, words: Perspective) -> None:
    for text in (words.clause(slug), words.remedy(CAUSES[slug])):
        assert text
        assert "{" not in text
        assert "}" not in text
        assert not text.endswith(".")
        assert text[0].islower() or text.split()[0] in ("TLS", "RFC")
        assert "  " not in text


def test_every_cause_that_can_be_inferred_is_in_the_catalogue() -> None:
    for table in (CAUSES_BY_VERIFY_CODE, CAUSES_BY_ALERT, CAUSES_BY_REASON, CAUSES_BY_OWN_ALERT):
        for causes in table.values():
            assert set(causes) <= set(CAUSES)
            assert len(set(causes)) == len(causes)
