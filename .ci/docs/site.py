"""The pages of the site, their order, and what is wrong with them."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from docs import commands, names, settings
from docs.commonmark import Links, to_site
from docs.notebooks import notebook_page, title
from mlx_selfdebug.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
GUIDES = ("stages", "cli", "tasks", "domains", "fixing", "models", "exporting", "doctor", "bench")
"""The rooms whose pages a user reads first, in this order. Those of the other rooms follow in the order of the README's tree."""
ROOM = re.compile(r"mlx_selfdebug/(\w+)/README\.md")
MOVED = {".github/CONTRIBUTING.md": "CONTRIBUTING.md"}
"""The pages that are not in the place of their file: the site has no hidden folders."""
EXAMPLES = "examples/README.md"
ALONE = "---\nhide: [navigation]\n---\n\n"
"""What stands before a page that is alone in its section, so that no list of a single page is shown beside it."""


@dataclass(frozen=True)
class Page:
    """A page of the site."""

    path: str
    """Where it is in the site's sources, such as "mlx_selfdebug/repair/README.md"."""
    title: str
    """Its name in the navigation."""
    text: str
    """The site's Markdown."""


@dataclass(frozen=True)
class Site:
    """All pages, by the section of the navigation that they are in, and what is wrong with them."""

    sections: dict[str, list[Page]]
    problems: list[str]
    names: dict[str, list[str]]
    """The public names by module."""

    @property
    def pages(self) -> list[Page]:
        return [page for pages in self.sections.values() for page in pages]


def make_site(root: Path = ROOT) -> Site:
    """Return the site of the checkout at ``root``. Its pages are complete, and its problems fail the build."""
    sources = _sources(root)
    notebooks = {f"examples/{name}.ipynb": root / f"examples/{name}.ipynb" for name in _notebook_names(root)}
    links = Links(_targets(sources, notebooks), settings.anchors())

    def page(source: str, text: str, label: str = "") -> Page:
        path = _page_path(source)
        return Page(path, label or title(text), links.link(to_site(text), source, path))

    rooms = {match[1]: page(source, text) for source, text in sources.items() if (match := ROOM.fullmatch(source))}
    guides = [rooms.pop(room) for room in GUIDES if room in rooms]
    others = [rooms.pop(room) for room in _rooms_of_the_tree(sources["README.md"]) if room in rooms]
    examples = [page(source, notebook_page(path)) for source, path in notebooks.items()]
    public = names.public_names([*sources.values(), *(path.read_text("utf-8") for path in root.glob("examples/*.py"))])
    homes = names.homes_of(public)
    sections = {
        "Home": [page("README.md", ALONE + sources["README.md"], "Home")],
        "Guides": guides,
        "How it works": [*others, *rooms.values()],
        "Examples": [page(EXAMPLES, _examples_page(examples), "All examples"), *examples],
        "Commands": [
            page(f"{commands.FOLDER}/README.md", commands.overview_page(), "All commands"),
            *(page(f"{commands.FOLDER}/{name}.md", commands.command_page(name), name) for name in COMMANDS),
        ],
        "Settings": [Page(settings.PAGE, "Settings", ALONE + settings.settings_page())],
        "Python": [
            page(
                names.page_of(module), names.module_page(module, exported, homes), module.removeprefix("mlx_selfdebug.")
            )
            for module, exported in public.items()
        ],
        "Project": [
            page(source, sources[source])
            for source in (
                "CHANGELOG.md",
                ".github/CONTRIBUTING.md",
                "benchmarks/results/README.md",
                "benchmarks/proof/PLAN.md",
            )
        ],
    }
    problems = [f"{path} has no docstring" for path in names.without_docstring(public)]
    made = {page.path for pages in sections.values() for page in pages}
    problems += [f"{source} is not in the navigation" for source in sources if _page_path(source) not in made]
    return Site(sections, [*problems, *links.broken], public)


def _sources(root: Path) -> dict[str, str]:
    """Return the texts of all Markdown files of the repository that are pages, by their paths."""
    files = [root / "README.md", root / "CHANGELOG.md", *root.glob(".github/*.md")]
    for folder in ("mlx_selfdebug", "benchmarks", "examples"):
        files += sorted(root.glob(f"{folder}/**/*.md"))
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in files}


def _page_path(source: str) -> str:
    """Return the path of the page that a file becomes."""
    return MOVED.get(source, source.removesuffix(".ipynb") + ".md" if source.endswith(".ipynb") else source)


def _targets(sources: Iterable[str], notebooks: Iterable[str]) -> dict[str, str]:
    """Return the page that a path on a page stands for: a file that is a page, or the script that a notebook is made of."""
    targets = {source: _page_path(source) for source in (*sources, *notebooks)}
    targets |= {source.removesuffix(".ipynb") + ".py": _page_path(source) for source in notebooks}
    return {**targets, posixpath.dirname(EXAMPLES): EXAMPLES}


def _notebook_names(root: Path) -> list[str]:
    """Return the names of the notebooks, in the order in which they are to be run."""
    tree = ast.parse((root / "examples/notebooks.py").read_text(encoding="utf-8"))
    values = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NAMES"
    ]
    return list(ast.literal_eval(values[0]))


def _rooms_of_the_tree(readme: str) -> list[str]:
    """Return the names of the packages in the order of the README's tree, which is that of imports."""
    tree = readme.partition("mlx_selfdebug/\n")[2].partition("```")[0]
    return re.findall(r"^  (\w+)/", tree, re.MULTILINE)


def _examples_page(examples: Iterable[Page]) -> str:
    rows = "\n".join(f"- [{page.title}]({posixpath.basename(page.path)})" for page in examples)
    about = "These notebooks show what a real run printed. Each is made of the script of the same name in `examples/`."
    return f"# Examples\n\n{about}\n\n{rows}\n"
