"""The layers: which room may import which, that no module imports itself by a detour, and sizes.

A room is a folder of modules. Every import counts: those inside functions, those under
TYPE_CHECKING, relative ones, and those written as a string, as a table of lazily loaded names or
a quoted annotation has them.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

COMPONENTS = {
    "pki": "mtls_echo_pki",
    "tls": "mtls_echo_tls",
    "server": "mtls_echo_server",
    "client": "mtls_echo_client",
    "cli": "mtls_echo",
}

# Each room, and behind the colon the rooms whose modules its own may import. It reads from the
# ground up: a room stands above all that it imports. `cli/__main__` is the module of that name.
PACKAGES = """
pki:
pki/certificates: pki
pki/files: pki pki/certificates
pki/flaws: pki pki/certificates
pki/directory: pki pki/certificates pki/files pki/flaws
pki/checks: pki pki/certificates pki/files pki/directory

tls: pki
tls/path: tls pki pki/certificates pki/files
tls/trace: tls tls/path pki/certificates
tls/stacks: tls tls/trace pki/certificates
tls/answers: tls pki
tls/diagnosis: tls tls/answers tls/path tls/trace tls/stacks pki pki/certificates
tls/stream: tls tls/path tls/trace tls/diagnosis
tls/material: tls tls/path tls/diagnosis pki pki/certificates pki/files pki/directory
tls/diagrams: tls tls/path tls/trace tls/diagnosis pki pki/certificates
tls/explain: tls tls/diagnosis

server: tls tls/path tls/diagnosis tls/stream tls/material tls/diagrams pki pki/certificates\
 pki/files
server/workers: server pki/files
server/http: server tls/path tls/trace tls/diagnosis tls/diagrams pki
server/status: server server/http tls tls/path tls/diagnosis tls/diagrams tls/material pki\
 pki/certificates

client/starttls: tls tls/diagnosis tls/stream
client: client/starttls tls tls/answers tls/diagnosis tls/path tls/stream tls/material\
 pki/certificates
client/endpoints: tls
client/endpoints/configuration: client client/endpoints tls tls/material pki pki/files
client/endpoints/discovery: client/endpoints client/endpoints/configuration tls pki/files
client/endpoints/monitor: client client/endpoints tls tls/diagnosis tls/stream tls/material\
 pki/files
"""

# The application may use everything below; between its own rooms arrows point down as well.
APPLICATION = """
cli/reports:
cli/gallery: cli/reports
cli/gallery/programs:
cli/probing:
cli: cli/gallery cli/probing
cli/usage: cli
cli/commands/gallery: cli cli/usage cli/gallery
cli/commands/endpoints: cli cli/usage
cli/commands/pki: cli cli/usage
cli/demo: cli
cli/demo/rotation: cli cli/demo
cli/demo/endpoints: cli cli/demo cli/commands/endpoints
cli/failures: cli cli/demo
cli/attacks: cli cli/demo cli/failures
cli/probing/reports: cli cli/reports cli/probing
cli/commands/probe: cli cli/usage cli/commands/pki cli/probing cli/probing/reports
cli/lesson: cli cli/demo cli/demo/rotation cli/demo/endpoints cli/attacks
cli/commands: cli cli/usage cli/demo cli/demo/endpoints cli/lesson
"""

MOST_MODULES = 12
MOST_LINES = 500


Graph = dict[str, set[str]]


@cache
def read_rooms() -> dict[str, set[str]]:
    """Each room with the rooms that it may import from."""
    rooms: dict[str, set[str]] = {}
    for text, everything_below in (PACKAGES, False), (APPLICATION, True):
        library = {*rooms} if everything_below else set[str]()
        for line in filter(None, text.splitlines()):
            room, _, named = line.partition(":")
            assert {*named.split()} <= rooms.keys(), f"{room} is written above what it imports"
            rooms[room] = {*named.split()} | library
    return rooms


@cache
def sources() -> dict[str, str]:
    """Every module of the product by its dotted name."""
    return {name: path.read_text("utf-8") for name, path in paths().items()}


@cache
def paths() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT / component).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path
        for component, package in COMPONENTS.items()
        for path in (ROOT / component / package).rglob("*.py")
    }


@cache
def graph() -> Graph:
    """Each module with those of the product that it imports."""
    return {name: imports_of(name, source) for name, source in sources().items()}


def with_line(module: str, line: str) -> Graph:
    """The graph as it were with one more line in a module."""
    return graph() | {module: imports_of(module, f"{sources()[module]}\n{line}\n")}


def imports_of(module: str, source: str) -> set[str]:
    return {name for name in named_in(module, source) if name in paths()} - {module}


def named_in(module: str, source: str) -> Iterator[str]:
    """What a module imports, in whatever form."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=after, names=names, level=level):
                folder = module.split(".")[: -level or None] if level else []
                whole = ".".join([*folder, *filter(None, [after])])
                for alias in names:
                    inner = f"{whole}.{alias.name}"
                    yield inner if inner in paths() else whole
            case ast.Constant(value=str(text)) if re.fullmatch(r"mtls_echo[\w.]*(:\w+)?", text):
                parts = text.partition(":")[0].split(".")
                known = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
                yield next((name for name in reversed(known) if name in paths()), "")
            case _:
                pass


def room_of(module: str) -> str:
    """The folder that a module lies in, by component and room."""
    component, _, *inside = paths()[module].parent.relative_to(ROOT).parts
    return "/".join([component, *inside])


def upward(imports: Graph) -> list[str]:
    """Imports that no row of the table allows."""
    return [
        f"{module} imports {imported}"
        for module, below in imports.items()
        if module != "mtls_echo.__main__"  # it starts everything, and nothing imports it
        for imported in below
        if room_of(module) != room_of(imported)
        and room_of(imported) not in read_rooms()[room_of(module)]
    ]


def circles(imports: Graph) -> list[set[str]]:
    """Sets of modules that import each other (Tarjan's strongly connected components)."""
    found: list[set[str]] = []
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        path.append(name)
        for other in imports[name]:
            if other not in order:
                visit(other)
            if other in path:
                low[name] = min(low[name], low[other])
        if low[name] == order[name]:
            at = path.index(name)
            if len(path) - at > 1:
                found.append({*path[at:]})
            del path[at:]

    for name in imports:
        if name not in order:
            visit(name)
    return found


def test_arrows_only_point_down() -> None:
    assert upward(graph()) == []


def test_no_module_imports_itself_by_a_detour() -> None:
    assert circles(graph()) == []


def test_every_room_is_in_the_table_and_every_arrow_is_used() -> None:
    rooms = read_rooms()
    used = {(room_of(a), room_of(b)) for a, below in graph().items() for b in below}

    assert {*map(room_of, graph())} == rooms.keys()
    library = [room for room in rooms if not room.startswith("cli")]
    assert [(a, b) for a in library for b in sorted(rooms[a]) if (a, b) not in used] == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("mtls_echo_tls.alerts", "import mtls_echo_tls.stream.tls"),
        ("mtls_echo_tls.alerts", "from mtls_echo_tls.stream import tls"),
        ("mtls_echo_pki.printable", "from mtls_echo_tls.alerts import alert_name"),
        ("mtls_echo_server.access", "def f():\n    from mtls_echo_client.session import connect"),
        (
            "mtls_echo_tls.sides",
            "if TYPE_CHECKING:\n    from mtls_echo_server.access import Access",
        ),
        ("mtls_echo_tls.sides", "LATER = 'mtls_echo_server.service:Server'"),
        ("mtls_echo_tls.sides", "LATER = 'mtls_echo_server.service.Server'"),
        ("mtls_echo_tls.sides", "def f(server: 'mtls_echo_server.service.Server'): ..."),
        ("mtls_echo_tls.path.chain", "from ..diagnosis import report"),
        ("mtls_echo_tls.path.chain", "from ..diagnosis.report import Report"),
        ("mtls_echo_tls.path.chain", "import mtls_echo_tls.diagnosis.report"),
        (
            "mtls_echo_client.endpoints.monitor.link",
            "import mtls_echo_client.endpoints.discovery.dns",
        ),
    ],
)
def test_an_import_that_points_up_is_found_in_whatever_form(module: str, line: str) -> None:
    assert len(upward(with_line(module, line))) == 1


@pytest.mark.parametrize("line", ["import {}", "def f():\n    import {}", "NAME = '{}'"])
def test_a_circle_is_found_in_whatever_form(line: str) -> None:
    planted = with_line(
        "mtls_echo_pki.certificates.reading", line.format("mtls_echo_pki.files.pem")
    )

    assert any("mtls_echo_pki.files.pem" in circle for circle in circles(planted))


def test_no_class_name_stands_twice() -> None:
    """Not in a component, and no public one in the project."""
    defined: dict[str, list[str]] = {}
    for module, source in sources().items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef):
                scope = module.split(".")[0] if node.name.startswith("_") else "everywhere"
                defined.setdefault(f"{scope} {node.name}", []).append(module)

    assert {name: where for name, where in defined.items() if len(where) > 1} == {}


def test_rooms_and_modules_are_of_a_size_that_can_be_seen() -> None:
    modules = sources()
    rooms = Counter(room_of(name) for name in modules if paths()[name].name != "__init__.py")

    assert {room: n for room, n in rooms.items() if n > MOST_MODULES} == {}
    lines = {module: source.count("\n") for module, source in modules.items()}
    assert {module: n for module, n in lines.items() if n > MOST_LINES} == {}


def test_packages_of_rooms_hold_a_docstring_and_no_code() -> None:
    folders = [
        path
        for component in COMPONENTS
        for path in (ROOT / component).rglob("__init__.py")
        if path.parent.name != "mtls_echo"
    ]
    for path in folders:
        body = ast.parse(path.read_text("utf-8")).body
        assert len(body) == 1, path
        assert ast.get_docstring(ast.Module(body, [])), path


def test_only_the_application_draws_and_parses_command_lines() -> None:
    """`click` and `rich` stay in `cli`."""
    for module, source in sources().items():
        tree = ast.parse(source)
        named = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        if not module.startswith("mtls_echo."):
            assert not named & {"click", "rich"}, module
