"""What an installation leaves behind, which component may import which, what may be committed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import entry_points, files, version
from pathlib import Path

import pytest

import mtls_echo
from tests.interop.foreign_peers import need
from tests.support.timing import TIMEOUT

ROOT = Path(__file__).parents[2]
COMPONENTS = ("cli", "server", "client", "tls", "pki")


@pytest.mark.parametrize(
    ("component", "may_import"),
    [
        ("pki", {"mtls_echo_pki"}),
        ("tls", {"mtls_echo_tls", "mtls_echo_pki"}),
        ("server", {"mtls_echo_server", "mtls_echo_tls", "mtls_echo_pki"}),
        ("client", {"mtls_echo_client", "mtls_echo_tls", "mtls_echo_pki"}),
    ],
)
def test_imports_only_point_down(component: str, may_import: set[str]) -> None:
    sources = list((ROOT / component).rglob("*.py"))
    imported = {
        name.split(".")[0]
        for path in sources
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in _absolute_imports(node)
    }

    assert sources
    assert {name for name in imported if name.startswith("mtls_echo")} <= may_import


@pytest.mark.parametrize(
    "source",
    [
        "import mtls_echo_server",
        "from mtls_echo_server.context import server_context",
        "def later():\n    from mtls_echo_server import serve",
        "import_module('mtls_echo_server.context')",
        "Place('mtls_echo_server')",
    ],
)
def test_an_import_is_found_in_whatever_form(source: str) -> None:
    found = {name for node in ast.walk(ast.parse(source)) for name in _absolute_imports(node)}

    assert {name.split(".")[0] for name in found} == {"mtls_echo_server"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_module_can_be_imported_first(component: str) -> None:
    """Each by itself, so that no order of imports hides a circle; and every exported name."""
    (folder,) = (ROOT / component).glob("mtls_echo*")
    modules = [
        ".".join(path.relative_to(ROOT / component).with_suffix("").parts).removesuffix(
            ".__init__"
        )
        for path in sorted(folder.rglob("*.py"))
    ]
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    for loaded in [each for each in sys.modules if each.startswith('mtls_echo')]:\n"
        "        del sys.modules[loaded]\n"
        "    module = importlib.import_module(name)\n"
        "    for exported in getattr(module, '__all__', ()):\n"
        "        getattr(module, exported)\n"
        "    print(name)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *modules],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == modules


def test_a_first_installation_that_was_interrupted_is_finished_by_the_next(
    tmp_path: Path,
) -> None:
    """The environment's python is there already, its pip is not: as after Ctrl-C."""
    need("make")
    made = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)

    # What is installed then is not at issue: it would come over the network.
    command = ["make", "--silent", f"VENV={made}", f"PYTHON={sys.executable}", "PIP=true"]
    ran = subprocess.run([*command, f"{made}/.run"], cwd=ROOT, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    pip = subprocess.run([made / "bin" / "python", "-m", "pip", "--version"], capture_output=True)
    assert pip.returncode == 0, pip.stderr


def test_a_checkout_can_be_installed_as_the_readme_says(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "```sh\npipx install .\nuv tool install .\npip install .\n```" in readme
    made = tmp_path / "venv"
    venv.create(made, with_pip=True, symlinks=True)
    (site,) = made.glob("lib/python*/site-packages")
    # What would come over the network is borrowed: the dependencies, and what builds the wheel.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PATH": os.environ["PATH"]}

    installed = subprocess.run(
        [made / "bin" / "pip", "install", "."],
        cwd=ROOT,
        env=offline,
        capture_output=True,
        text=True,
    )
    command = [str(made / "bin" / "mtls-echo"), "pki", "init", str(tmp_path / "pki")]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert installed.returncode == 0, installed.stderr
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {path.name for path in site.glob("mtls_echo*") if path.suffix != ".dist-info"} == {
        package.name for name in COMPONENTS for package in (ROOT / name).glob("mtls_echo*")
    }


def test_nothing_generic_reaches_site_packages() -> None:
    installed = {path.parts[0] for path in files("mtls-echo") or [] if path.parts[0] != ".."}

    assert installed
    assert not installed & {*COMPONENTS, "tests", "docs", "benchmarks"}


def test_every_package_says_that_it_is_typed() -> None:
    for component in COMPONENTS:
        (package,) = (ROOT / component).glob("mtls_echo*")
        assert (package / "py.typed").exists()


def test_one_version_is_stated_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert mtls_echo.__version__ == project["version"] == version("mtls-echo")
    assert f"## {mtls_echo.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_urls_of_the_project_lead_to_no_host_that_exists() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]

    assert {"Homepage", "Documentation", "Source", "Issues", "Changelog"} == set(urls)
    assert all(url.startswith("https://mtls-echo.example/") for url in urls.values())


def test_pytest_finds_the_fixtures_by_itself() -> None:
    (plugin,) = entry_points(group="pytest11", name="mtls_echo")

    assert plugin.value == "mtls_echo.pytest_plugin"


@pytest.mark.parametrize(
    "lock", ["requirements.txt", "tests/requirements.txt", "docs/requirements.txt"]
)
def test_pins_have_hashes_and_no_host_names(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    pins = re.findall(r"^(\S+)==\S+", text, re.MULTILINE)

    assert "trio" in pins
    assert text.count("--hash=sha256:") >= len(pins)
    assert "://" not in text
    assert "index-url" not in text


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"trio", "cryptography", "rich", "msgspec", "ssl"}),
        (["serve", "--help"], {"trio", "cryptography", "rich"}),
        (["connect", "--help"], {"trio", "cryptography", "rich"}),
        (["endpoints", "--help"], {"trio", "cryptography", "rich", "yaml", "ssl"}),
        (["pki", "issue", "--help"], {"trio", "cryptography", "rich"}),
        (["pki", "init", "{tmp}/pki"], {"trio", "rich", "mtls_echo_tls"}),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_command_imports_only_what_it_uses(
    arguments: list[str], unwanted: set[str], tmp_path: Path
) -> None:
    program = (
        "import sys\n"
        "from mtls_echo.__main__ import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "finally:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *(a.format(tmp=tmp_path) for a in arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert ran.returncode == 0, ran.stderr
    assert not unwanted & set(ran.stderr.split())


def _absolute_imports(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Constant(value=str(text)) if re.fullmatch(r"mtls_echo(_\w+)?(\.\w+)*", text):
            return [text]  # what importlib may be given
        case _:
            return []


def test_make_clean_removes_all_that_is_ignored() -> None:
    ignored = {
        line.strip("/") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines() if line
    }
    _, _, recipe = (ROOT / "Makefile").read_text("utf-8").partition("\nclean:\n")

    assert ignored - {*recipe.split()} == set()
