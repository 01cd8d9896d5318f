"""Everybody's HTTP client gets its answer from `serve`, and the log says the truth about each.

Each asks with a client certificate, as its users would have it ask, and most ask twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from tests.interop.foreign_peers import SOURCES, java, need, node, own_files, write_material
from tests.support.servers import ServeProcess
from tests.support.timing import TIMEOUT

Ask = Callable[[Path, int], str]


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**os.environ, "no_proxy": "*", **environment},
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def url(port: int) -> str:
    return f"https://localhost:{port}/json"


def by_curl(folder: Path, port: int) -> str:
    need("curl")
    trusting = ("--cacert", str(folder / "servers.crt"))
    common = ("--silent", "--fail", *trusting, *own_files(folder, "client", "--"))
    echo = url(port).replace("/json", "/echo")
    said = run("curl", "--disable", *common, "-d", "hello", echo, "--next", *common, url(port))
    assert said.startswith("hello")
    return said.removeprefix("hello")


def by_wget(folder: Path, port: int) -> str:
    need("wget")
    own = [f"--certificate={folder}/client.crt", f"--private-key={folder}/client.key"]
    trust = f"--ca-certificate={folder}/servers.crt"
    return run("wget", "--no-config", "-q", "-O", "-", trust, *own, url(port))


def by_requests(folder: Path, port: int) -> str:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(folder / "servers.crt")
        session.cert = (str(folder / "client.crt"), str(folder / "client.key"))
        session.get(url(port), timeout=TIMEOUT).raise_for_status()
        return session.get(url(port), timeout=TIMEOUT).text


def by_httpx(folder: Path, port: int) -> str:
    context = httpx.create_ssl_context(verify=False)
    context.load_verify_locations(folder / "servers.crt")
    context.load_cert_chain(folder / "client.crt", folder / "client.key")
    with httpx.Client(verify=context, trust_env=False, timeout=TIMEOUT) as client:
        client.get(url(port)).raise_for_status()
        return client.get(url(port)).text


def by_node(folder: Path, port: int) -> str:
    need("node")
    return run(*node("asking"), str(folder), str(port), "client")


def by_java(folder: Path, port: int) -> str:
    need("javac")
    return run(*java("Asking"), str(folder), str(port), "client")


def by_go(folder: Path, port: int) -> str:
    need("go")
    program = folder / "asking"
    run("go", "build", "-o", str(program), str(SOURCES / "asking.go"))
    return run(str(program), str(folder), str(port), "client")


CLIENTS: dict[str, Ask] = {
    "curl": by_curl,
    "wget": by_wget,
    "requests": by_requests,
    "httpx": by_httpx,
    "node": by_node,
    "java": by_java,
    "go": by_go,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("material")
    write_material(made)
    return made


@contextlib.contextmanager
def served(folder: Path, *options: str) -> Iterator[ServeProcess]:
    own = ("--cert", str(folder / "server.crt"), "--key", str(folder / "server.key"))
    with ServeProcess(*own, "--client-ca", str(folder / "clients.crt"), *options) as running:
        yield running
        assert running.stop() == 0


def reports(running: ServeProcess) -> list[dict[str, Any]]:
    return [event for event in running.events if event["event"] == "connection"]


@pytest.mark.parametrize("client", CLIENTS)
def test_it_is_answered_and_logged_as_it_was(folder: Path, client: str) -> None:
    with served(folder) as running:
        told = json.loads(CLIENTS[client](folder, running.port))
    assert told["client"]["names"] == ["client.test"]
    assert told["hello"]["server_name"] == "localhost"
    found = reports(running)
    assert found
    for report in found:
        assert report["outcome"] == "completed", report
        assert report["causes"] == []
        assert report["ended"] in ("client", "handler", "drain")
    assert told["client_random"] in [report["client_random"] for report in found]
    assert sum(report["http_requests"] for report in found) >= (1 if client == "wget" else 2)


def test_fetch_in_node_without_a_certificate(folder: Path) -> None:
    need("node")
    with served(folder, "--client-auth", "optional") as running:
        trusting = {"NODE_EXTRA_CA_CERTS": str(folder / "servers.crt")}
        told = json.loads(
            run(*node("asking"), str(folder), str(running.port), "fetch", **trusting)
        )
        assert told["client"] is None
    found = reports(running)
    assert {report["outcome"] for report in found} == {"completed"}
    assert sum(report["http_requests"] for report in found) == 2
