"""Read a configuration of endpoints, or get the reason why it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.read import parse_configuration
from mtls_echo_client.endpoints.groups import Configuration
from tests.support.endpoints import make_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("material")
    make_files(made)
    return made


def parse(text: str, folder: Path) -> Configuration:
    return parse_configuration(text, name="FILE", folder=folder)


def refusal(text: str, folder: Path) -> EndpointsError:
    with pytest.raises(EndpointsError) as refused:
        parse(text, folder)
    return refused.value
