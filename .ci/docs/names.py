"""The reference of the public names: their signatures and docstrings, read from the source without importing it.

Public are the names in ``mlx_selfdebug.__all__``, and those that the Python code on the pages and in the examples imports from
other modules. Where such a module has an ``__all__``, all of its names are public. So are those of ``errors`` and ``testing``.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

import griffe

from mlx_selfdebug.parsing import parse

ROOT = Path(__file__).parents[2]
PACKAGE = "mlx_selfdebug"
FOLDER = "reference/python"
WHOLE = ("errors", "testing")
"""The modules all of whose names are public though they have no ``__all__``."""
MAX_LINE = 88
"""The number of characters from which a signature is shown with a line for each parameter."""
ROLE = re.compile(r":(?:func|class|meth|mod|attr):`~?([^`]+)`")
DESCRIBED = re.compile(r"(\*{0,2}\w+): (.*)")
SECTIONS = {"Args:": "", "Raises:": "Raises:\n"}
"""The sections of docstrings that describe one thing per line, and what the site shows in place of their heads."""


@cache
def package() -> griffe.Module:
    """Return the package as griffe reads it."""
    loaded = griffe.load(
        PACKAGE, search_paths=[str(ROOT)], try_relative_path=False, allow_inspection=False, resolve_aliases=True
    )
    assert isinstance(loaded, griffe.Module)
    return loaded


def public_names(texts: Iterable[str]) -> dict[str, list[str]]:
    """Return the public names by module, given the pages and the examples as texts. The package itself comes first."""
    names: dict[str, set[str]] = {PACKAGE: set(import_module(PACKAGE).__all__)}
    for text in texts:
        for module, imported in imports_in(text):
            names.setdefault(module, set()).update(imported)
    for module in names.keys() - {PACKAGE}:
        if "__all__" in member(module).members:
            names[module] = set(import_module(module).__all__)
    for short in WHOLE:
        module = f"{PACKAGE}.{short}"
        names[module] = {
            name for name, item in member(module).members.items() if not name.startswith("_") and not item.is_alias
        }
    return {module: sorted(names[module], key=_order) for module in sorted(names)}


def imports_in(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the modules of this package and the names that Python code imports from them.

    The code is that of the Python blocks of a page or, if there are none, the whole text if it can be parsed.
    """
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) or [text]:
        tree = parse(code)
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
                yield str(node.module), [alias.name for alias in node.names]


def member(path: str) -> griffe.Object:
    """Return the module, class, function or value at a dotted path, which may be where it is exported."""
    inside = path.removeprefix(PACKAGE).lstrip(".")
    item = package()[inside] if inside else package()
    return item.final_target if isinstance(item, griffe.Alias) else item


def without_docstring(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the dotted paths of the public names that have no docstring."""
    paths = (f"{module}.{name}" for module, exported in names.items() for name in exported)
    return [path for path in paths if member(path).docstring is None]


def module_page(module: str, names: Sequence[str], homes: Mapping[str, str]) -> str:
    """Return the page of a module with all of its public names.

    ``homes`` is the page and anchor of each name by the path at which it is defined. A name whose home is another page is only
    listed.
    """
    about = member(module).docstring
    parts = [f"# `{module}` {{ #{module} }}", _prose(about.value) if about else ""]
    others = []
    for name in names:
        item = member(f"{module}.{name}")
        home = homes[item.path]
        if home == f"{page_of(module)}#{module}.{name}":
            parts += _entry(item, name, f"{module}.{name}")
        else:
            others.append(f"[`{name}`]({home.rpartition('/')[2]})")
    if others:
        parts.insert(2, f"Described on other pages: {', '.join(others)}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def homes_of(names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the page and anchor of each name by the path at which it is defined: on the page of the first module that has it."""
    homes: dict[str, str] = {}
    for module, exported in names.items():
        for name in exported:
            homes.setdefault(member(f"{module}.{name}").path, f"{page_of(module)}#{module}.{name}")
    return homes


def page_of(module: str) -> str:
    return f"{FOLDER}/{module}.md"


def _order(name: str) -> tuple[bool, str]:
    """Order functions and values before classes, as a reader types them."""
    return name[:1].isupper(), name


def _entry(item: griffe.Object, name: str, anchor: str) -> Iterator[str]:
    """Yield the heading, the signature, the docstring and the members of a public name."""
    yield f"## `{name}` {{ #{anchor} }}"
    yield f"```python\n{_signature(item, name)}\n```"
    if item.docstring:
        yield _prose(item.docstring.value)
    if isinstance(item, griffe.Class):
        members = _members(item)
        values = [part for part in members if not isinstance(part, griffe.Function)]
        if values:
            yield "\n".join(map(_value, values))
        for method in members:
            if isinstance(method, griffe.Function):
                yield f"### `{name}.{method.name}` {{ #{anchor}.{method.name} }}"
                yield f"```python\n{_signature(method, method.name)}\n```"
                if method.docstring:
                    yield _prose(method.docstring.value)


def _members(item: griffe.Class) -> list[griffe.Object]:
    """Return the public members of a class, those of its bases in this package included, without what it only imports."""
    own = {name: part for name, part in item.members.items() if not part.is_alias}
    inherited = {name: part.final_target for name, part in item.inherited_members.items() if part.is_alias}
    of_package = {name: part for name, part in inherited.items() if part.path.startswith(f"{PACKAGE}.")}
    return [part for name, part in {**own, **of_package}.items() if not name.startswith("_")]


def _signature(item: griffe.Object, name: str) -> str:
    """Return how a name is called or, for a value, what it is."""
    if isinstance(item, griffe.Function):
        prefix = "async " if "async" in item.labels else ""
        return prefix + _wrapped(item.signature(name=name))
    if isinstance(item, griffe.Class):
        return f"class {_wrapped(item.signature(name=name) or name)}"
    annotation, value = getattr(item, "annotation", None), str(getattr(item, "value", ""))
    typed = f"{name}: {annotation}" if annotation else name
    return f"{typed} = {value}" if len(value) <= MAX_LINE else typed


def _wrapped(signature: str) -> str:
    """Return a signature on one line if it is short, and otherwise with each parameter on a line."""
    if len(signature) <= MAX_LINE:
        return signature
    begin = signature.index("(")
    parameters, depth, end = [""], 0, len(signature)
    for place, character in enumerate(signature[begin + 1 :], begin + 1):
        if character == ")" and depth == 0:
            end = place
            break
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parameters.append("")
        else:
            parameters[-1] += character
    lines = "".join(f"    {parameter.strip()},\n" for parameter in parameters if parameter.strip())
    return f"{signature[: begin + 1]}\n{lines}{signature[end:]}"


def _value(item: griffe.Object) -> str:
    """Return an item of a list for an attribute or a property: its name, its type and its docstring."""
    annotation = getattr(item, "annotation", None)
    typed = f"`{item.name}: {annotation}`" if annotation else f"`{item.name}`"
    text = " ".join(_prose(item.docstring.value).split()) if item.docstring else ""
    return f"- {typed}" + (f" - {text}" if text else "")


def _prose(docstring: str) -> str:
    """Return a docstring as Markdown: roles as code, arguments as a list, and examples as code blocks."""
    parts = [_paragraph(part) for part in re.split(r"\n\s*\n", ROLE.sub(r"`\1`", docstring.strip("\n")))]
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    if text.lstrip().startswith(">>>"):
        lines = [re.sub(r" *# doctest: .*", "", line) for line in textwrap.dedent(text).split("\n")]
        return "```pycon\n" + "\n".join(lines) + "\n```"
    head, *lines = text.split("\n")
    if head in SECTIONS and lines:
        return "\n".join([SECTIONS[head], *_described(lines)])
    return text if text.startswith("    ") else _escaped(text)


def _described(lines: Sequence[str]) -> Iterator[str]:
    """Yield an item of a list for each argument or error that the lines describe."""
    described = " ".join(line if line.startswith(" " * 8) else f"\n{line}" for line in lines)
    for line in described.strip().split("\n"):
        argument = DESCRIBED.match(line.strip())
        yield f"- `{argument[1]}`: {_escaped(' '.join(argument[2].split()))}" if argument else _escaped(line.strip())


def _escaped(text: str) -> str:
    """Return text in which Markdown reads no tag and no emphasis, but still reads code in backticks."""
    parts = re.split(r"(`+[^`]*`+)", text)
    for number in range(0, len(parts), 2):
        parts[number] = parts[number].replace("<", "&lt;").replace("*", r"\*")
    return "".join(parts)
