"""How `make site` makes a site of the documentation: Sphinx, MyST for Markdown, the theme Furo.

The pages are those that GitHub shows, without directives of their own. What the site adds is here
and beside this file: the order of the pages, those that lie in the project's root, and the
reference of everything that `from mtls_echo import …` gives, from its docstrings. Nothing on the
site is fetched from elsewhere, so it can be read and searched without a network.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import mtls_echo
import mtls_echo.endpoints
import mtls_echo_server.events

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "mtls-echo"
author = "the mtls-echo authors"
release = version = mtls_echo.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
exclude_patterns = ["examples"]

html_theme = "furo"
html_title = f"mtls-echo {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sphinx = html_show_copyright = False
# A block that does not name its language is what a program prints, or a drawing.
highlight_language = "none"
pygments_style, pygments_dark_style = "friendly", "github-dark"

myst_heading_anchors = 3
myst_enable_extensions = ["html_image"]

# Quotation marks are those of a program; two hyphens are a dash between a name and its meaning.
smartquotes_action = "D"
# What docstrings put in single backquotes is code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
# As the headings of docstrings have it: fields of a class are described at one place.
napoleon_use_ivar = False
napoleon_attr_annotations = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True

# autodoc evaluates the types of a struct's fields, and this module has it for type checkers only.
vars(mtls_echo_server.events)["Report"] = mtls_echo.Report

# Pages whose text lies in the root of the project, where it is looked for.
ROOT_PAGES = {
    "site/start": "README.md",
    "site/contributing": "CONTRIBUTING.md",
    "site/security-policy": "SECURITY.md",
    "site/changelog": "CHANGELOG.md",
}

# The order of the pages, with a shorter title where theirs is a sentence; those that are missing
# here follow by themselves, under "More".
NAVIGATION = {
    "Begin": ["First steps <site/start>", "lesson", "why-mtls", "compare"],
    "Find the fault": [
        "questions",
        "failures",
        "trace",
        "any-server",
        "Probe a server <probe>",
        "Gallery for clients <gallery>",
        "What clients do <clients>",
    ],
    "Run it": [
        "Files <files>",
        "Endpoints <endpoints>",
        "rotation",
        "reload",
        "workers",
        "page",
        "What it promises <security>",
    ],
    "Program with it": [
        "library",
        "Reference: server <site/api/server>",
        "Reference: client <site/api/client>",
        "Reference: probe <site/api/probe>",
        "Reference: many endpoints <site/api/endpoints>",
        "Reference: streams, material, reports <site/api/reports>",
        "Reference: certificates <site/api/certificates>",
    ],
    "The project": [
        "architecture",
        "performance",
        "site/contributing",
        "site/security-policy",
        "release",
        "site/changelog",
    ],
}


def navigation(pages: set[str]) -> dict[str, list[str]]:
    """The pages that exist under their captions; those that are not listed are at the end."""

    def page(entry: str) -> str:
        return entry.rpartition("<")[2].rstrip(">")

    listed = {page(each) for entries in NAVIGATION.values() for each in entries}
    found = {
        caption: [each for each in entries if page(each) in pages]
        for caption, entries in NAVIGATION.items()
    }
    found["More"] = sorted(pages - listed - {root_doc})
    return {caption: each for caption, each in found.items() if each}


def _titles() -> dict[str, str]:
    """The shorter titles, by the name of their page."""
    entries = [each.split(" <") for entries in NAVIGATION.values() for each in entries]
    return {each[1].rstrip(">"): each[0] for each in entries if len(each) > 1}


def _prepare(app: Sphinx, page: str, source: list[str]) -> None:
    """Fill in the pages of the root, adapt links to them, and add the navigation."""
    if page in ROOT_PAGES:
        path = Path(app.srcdir).parent / ROOT_PAGES[page]
        app.env.note_dependency(path)
        text = re.sub(
            r"(?<![\w/`\[])(?<!\]\()(docs/[\w-]+\.md)", r"[\1](\1)", path.read_text("utf-8")
        )
        source[0] = re.sub(r"""(\]\(|src=")docs/""", r"\1/", text)
    for target, name in ROOT_PAGES.items():
        source[0] = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}", f"](/{target}.md", source[0])
    # A link that is called by its file, as on GitHub, has the title of its page here.
    source[0] = re.sub(
        r"\[(?:docs/)?([\w-]+)\.md\]\(", lambda link: f"[{_titles().get(link[1], '')}](", source[0]
    )
    if page == root_doc:
        for caption, pages in navigation(app.env.found_docs).items():
            lines = [f"```{{toctree}}\n:hidden:\n:caption: {caption}\n", *pages, "```"]
            source[0] += "\n\n" + "\n".join(lines) + "\n"


def _restore_options(app: Sphinx, doctree: nodes.document) -> None:
    """Give options in the text their hyphens back: of two the typographer makes a dash."""
    for text in list(doctree.findall(nodes.Text)):
        restored = re.sub(r"\N{EN DASH}(?=[a-z])", "--", text)
        if restored != text and text.parent is not None:
            text.parent.replace(text, nodes.Text(restored))


class PublicNames(SphinxDirective):
    """The reference of the public names whose home is in one of the packages that are named."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Let autodoc describe each."""
        packages = set(self.arguments[0].split())
        lines: list[str] = []
        for name, home in sorted(HOMES.items(), key=lambda each: each[0].rpartition(".")[2]):
            value = _value(name)
            # Constants are described by hand: autodoc would print all that is in them.
            if callable(value) and packages & {home, home.partition(".")[0]}:
                kind = "class" if inspect.isclass(value) else "function"
                if isinstance(value, type) and issubclass(value, BaseException):
                    kind = "exception"
                lines += [f".. auto{kind}:: {name}", ""]
        return self.parse_text_to_nodes("\n".join(lines))


def _value(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    return getattr(mtls_echo.endpoints if module.endswith("endpoints") else mtls_echo, attribute)


# Each public name with the module that it is defined in, or for a constant a name of its room.
HOMES = {f"mtls_echo.{name}": home for name, home in mtls_echo._HOME_OF.items()}
HOMES |= {
    f"mtls_echo.endpoints.{name}": "mtls_echo.endpoints" for name in mtls_echo.endpoints.__all__
}

# What docstrings refer to by the name of its own module is found under its public name.
_PUBLIC = {
    f"{getattr(_value(name), '__module__', home)}.{name.rpartition('.')[2]}": name
    for name, home in HOMES.items()
}


def _refer_to_public(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.Element
) -> nodes.Element | None:
    """A reference to a public name, or to a member of it, by whatever module it was written."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py":
        return None
    by_last_name = {name.rpartition(".")[2]: name for name in HOMES}
    owner, _, member = target.rpartition(".")
    known = _PUBLIC.get(target) or by_last_name.get(target)
    if known is None and (owned := _PUBLIC.get(owner) or by_last_name.get(owner)):
        known = f"{owned}.{member}"
    if known is None:
        return None
    python = env.domains.python_domain
    return python.resolve_xref(env, env.docname, app.builder, "obj", known, node, shown)


def _shorten(
    app: Sphinx, kind: str, name: str, value: object, options: object, given: str, returned: str
) -> tuple[str, str] | None:
    """A signature that can be read: short names of types, and of none with dozens of fields."""
    if not given:
        return None
    given, returned = (
        re.sub(
            r"~(?:\w+\.)+", "", re.sub(r"(?:~typing\.)?Literal\['expired'[^]]*\]", "Slug", each)
        )
        for each in (given, returned or "")
    )
    return given if len(given) < _LONGEST_SIGNATURE else "(…)", returned


_LONGEST_SIGNATURE = 900


def _before_napoleon(
    app: Sphinx, kind: str, name: str, value: object, options: object, lines: list[str]
) -> None:
    """Keep Napoleon from taking the words before a colon for the type of a property."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()  # what Python itself says of a field of a named tuple tells nothing
    if lines and kind in ("property", "attribute"):
        lines[0] = lines[0].replace(":", _COLON)


def _after_napoleon(
    app: Sphinx, kind: str, name: str, value: object, options: object, lines: list[str]
) -> None:
    lines[:] = [line.replace(_COLON, ":") for line in lines]


_COLON = "\N{RATIO}"


def setup(app: Sphinx) -> None:
    """Add what is special here."""
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)
    app.connect("source-read", _prepare)
    app.connect("doctree-read", _restore_options)
    app.connect("missing-reference", _refer_to_public)
    app.add_directive("public-names", PublicNames)
