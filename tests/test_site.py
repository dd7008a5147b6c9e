"""Every command, setting and public name is on the documentation site, and what is wrong with a page fails the build."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from markdown_it import MarkdownIt

import mlx_selfdebug
from mlx_selfdebug.cli.main import cli
from mlx_selfdebug.config import SETTINGS
from mlx_selfdebug.errors import SelfDebugError

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / ".ci"))

from docs import names  # noqa: E402
from docs.commonmark import Links, to_site  # noqa: E402
from docs.site import Page, Site, make_site  # noqa: E402


@pytest.fixture(scope="module")
def site() -> Site:
    return make_site()


@pytest.fixture(scope="module")
def texts(site: Site) -> dict[str, str]:
    return {page.path: page.text for page in site.pages}


def commands(command: click.Command, parent: click.Context | None = None) -> Iterator[tuple[str, click.Context]]:
    """Every command below ``command`` with its words, such as "runs show"."""
    # With its own settings: click keeps the help option that it makes for the first context.
    context = click.Context(command, parent, info_name=command.name, **command.context_settings)
    if parent is not None:
        yield context.command_path.partition(" ")[2], context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, context)


def words_of(text: str) -> str:
    """A text without its layout and without the marks by which Markdown takes signs as they are."""
    return " ".join(re.sub(r"\\([*|\[])", r"\1", text).replace("&lt;", "<").split())


COMMANDS = [pytest.param(context, id=words) for words, context in commands(cli)]


def test_nothing_is_wrong_with_the_site(site: Site) -> None:
    assert site.problems == []


@pytest.mark.parametrize("context", COMMANDS)
def test_every_command_is_on_the_site_with_its_help_and_each_of_its_options(
    context: click.Context, texts: dict[str, str]
) -> None:
    words = context.command_path.split()[1:]
    page = texts[f"reference/commands/{words[0]}.md"]
    section = re.split(r"^#+ ", page.partition(f"`{' '.join(words)}` {{ #{'-'.join(words)} }}\n")[2], flags=re.M)[0]
    assert context.command.get_short_help_str(limit=40).removesuffix("...") in words_of(section)
    for parameter in context.command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            record = parameter.get_help_record(context)
            assert record is not None
            assert f"`{record[0]}`" in section
            assert words_of(record[1]) in words_of(section)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.key)
def test_every_setting_is_on_the_site_with_all_that_is_known_of_it(setting: Any, texts: dict[str, str]) -> None:
    page = texts["reference/settings.md"]
    entry = page.partition(f"### `{setting.key}` {{ #{setting.key} }}")[2].partition("\n### ")[0]
    assert setting.help[1:] in entry
    for text in (setting.option, setting.env, str(setting.default), *setting.choices):
        assert text in entry
    for limit in (setting.low, setting.high):
        assert limit is None or f"{limit:g}" in entry or str(int(limit)) in entry


def test_every_public_name_is_on_the_site_with_its_docstring(texts: dict[str, str]) -> None:
    page = texts["reference/python/mlx_selfdebug.md"]
    for name in mlx_selfdebug.__all__:
        entry = page.partition(f"## `{name}` {{ #mlx_selfdebug.{name} }}")[2].partition("\n## ")[0]
        docstring = getattr(mlx_selfdebug, name).__doc__
        first = words_of(names.ROLE.sub(r"`\1`", docstring.strip().partition("\n\n")[0]))
        assert first in words_of(entry), name


def test_the_modules_that_the_pages_import_from_are_on_the_site_with_all_of_their_names(site: Site) -> None:
    assert {"sandbox", "tasks", "store", "domains", "config", "errors", "testing"} <= {
        module.partition(".")[2] for module in site.names
    }
    texts = {page.path: page.text for page in site.pages}
    for module, exported in site.names.items():
        for name in exported:
            assert f"`{name}`" in texts[f"reference/python/{module}.md"], f"{module}.{name}"
    assert SelfDebugError.__name__ in site.names["mlx_selfdebug.errors"]


def test_every_readme_is_a_page_and_each_page_is_once_in_the_navigation(site: Site) -> None:
    paths = [page.path for page in site.pages]
    assert len(paths) == len(set(paths))
    readmes = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("mlx_selfdebug/**/README.md")}
    assert readmes | {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= set(paths)
    assert {f"examples/{path.stem}.md" for path in ROOT.glob("examples/*.ipynb")} <= set(paths)


LINKS = {"mlx_selfdebug/repair/README.md": "mlx_selfdebug/repair/README.md", "examples/own.py": "examples/own.md"}


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("see `mlx_selfdebug/repair/README.md`", "see [`mlx_selfdebug/repair/README.md`](../repair/README.md)"),
        ("see `repair/README.md` too", "see [`repair/README.md`](../repair/README.md) too"),
        ("see `../repair/README.md`", "see [`../repair/README.md`](../repair/README.md)"),
        ("`examples/own.py`", "[`examples/own.py`](../../examples/own.md)"),
        ("of `eval.limit` tasks", "of [`eval.limit`](../../reference/settings.md#eval.limit) tasks"),
        ("[`repair/README.md`](elsewhere)", "[`repair/README.md`](elsewhere)"),
        ("```sh\ncat `repair/README.md`\n```", "```sh\ncat `repair/README.md`\n```"),
        ("`forks.py` and `a/b`", "`forks.py` and `a/b`"),
    ],
)
def test_a_path_that_is_a_page_and_a_setting_become_links(text: str, linked: str) -> None:
    links = Links(LINKS, {"eval.limit": "reference/settings.md#eval.limit"})
    page = "mlx_selfdebug/stages/README.md"
    assert links.link(text, page, page) == linked
    assert links.broken == []


def test_a_path_of_a_page_that_is_not_there_is_a_problem() -> None:
    links = Links(LINKS, {})
    links.link("see `repairs/README.md`", "mlx_selfdebug/stages/README.md", "mlx_selfdebug/stages/README.md")
    assert links.broken == ["mlx_selfdebug/stages/README.md: `repairs/README.md` is no page of the site"]


PAGE = "# A page\n\n## A heading\n\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[page](README.md), [heading](README.md#a-heading)", ""),
        ("[page](nowhere.md)", "nowhere.md"),
        ("[heading](#no-such-heading)", "no-such-heading"),
        ("![picture](nowhere.png)", "nowhere.png"),
        ('<img src="https://example.org/a.png">', "loads https://example.org/a.png"),
    ],
)
def test_a_broken_link_or_something_from_another_host_fails_the_build(text: str, problem: str, tmp_path: Path) -> None:
    pytest.importorskip("properdocs", reason="make docs installs what builds the site")
    from docs.__main__ import build

    pages = [Page("README.md", "First", PAGE + text), Page("other.md", "Other", "# Other\n")]
    problems = build(Site({"Pages": pages}, [], {}), tmp_path / "site")
    assert len(problems) == bool(problem)
    assert problem in "".join(problems)


def test_a_public_name_without_a_docstring_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import griffe

    code = 'def told():\n    """Tell."""\n\ndef untold(): ...\n\nLIMIT = 3\n"""A limit."""\nOTHER = 4\n'
    (tmp_path / "mlx_selfdebug.py").write_text(code)
    package = griffe.load(
        "mlx_selfdebug", search_paths=[str(tmp_path)], try_relative_path=False, allow_inspection=False
    )
    monkeypatch.setattr(names, "package", lambda: package)
    missing = names.without_docstring({"mlx_selfdebug": ["LIMIT", "OTHER", "told", "untold"]})
    assert missing == ["mlx_selfdebug.OTHER", "mlx_selfdebug.untold"]


DIALECTS = [
    ("text\n- a\n- b", "text\n\n- a\n- b"),
    ("1. first\n   goes on\n\n   | a | b |\n   |---|---|\n   | 1 | 2 |\n2. second",
     "1. first\n    goes on\n\n    | a | b |\n    |---|---|\n    | 1 | 2 |\n\n2. second"),
    ("1. a\n\n   b\n2. c\n\n3. d", "1. a\n\n    b\n\n2. c\n\n3. d"),
    ("- a\n  - b\n    more", "- a\n    - b\n        more"),
    ("10. ten\n\n    ```sh\n    ls\n      two\n    ```", "10. ten\n\n    ```sh\n    ls\n      two\n    ```"),
    ("```\n- no list\n  at all\n```", "```\n- no list\n  at all\n```"),
    ("table:\n| a |\n|---|\n| 1 |", "table:\n\n| a |\n|---|\n| 1 |"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), DIALECTS)
def test_lists_and_tables_are_written_as_the_site_reads_them(text: str, expected: str) -> None:
    assert to_site(text) == expected


def test_what_is_written_for_the_site_still_says_the_same_on_a_code_host(site: Site) -> None:
    """Code hosts read CommonMark, so the indentation of lists must not make another structure there."""
    for path in ROOT.glob("mlx_selfdebug/*/README.md"):
        text = path.read_text(encoding="utf-8")
        before, after = (
            [token.type for token in MarkdownIt("commonmark").enable("table").parse(version)]
            for version in (text, to_site(text))
        )
        assert before == after, path
