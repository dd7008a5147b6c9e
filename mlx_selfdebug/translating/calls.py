"""Write the function ``check(candidate)`` that runs tests, with their parameters and what sets them up and tears them down."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from mlx_selfdebug.translating.classes import Function
from mlx_selfdebug.translating.collection import FoundTest

MODULE_FUNCTIONS = (
    "setUpModule", "setup_module", "tearDownModule", "teardown_module", "setup_function", "teardown_function"
)  # fmt: skip


def values_name(test: str, number: int) -> str:
    """Return the name of the class attribute that holds the values of a method's ``parametrize``, of which ``number`` counts."""
    return f"_values_{test}_{number}"


def check_source(tests: Iterable[FoundTest], functions: Mapping[str, Function], *, with_params: bool) -> str:
    """Return the source of ``check``, which runs ``tests`` in their order.

    ``functions`` are those of the module, by name. With ``with_params``, the module uses ``pytest.param``.
    """
    lines = [_call("", functions, name) for name in ("setUpModule", "setup_module") if name in functions]
    for path, of_class in groupby(tests, lambda test: test.label.rpartition(".")[0]):
        lines += _group(path, list(of_class), functions, with_params)
    lines += [_call("", functions, name) for name in ("tearDownModule", "teardown_module") if name in functions]
    return "def check(candidate):\n" + textwrap.indent("\n".join(lines), "    ") + "\n"


def _group(
    path: str, tests: Sequence[FoundTest], functions: Mapping[str, Function], with_params: bool
) -> Iterator[str]:
    """Yield the statements that run the tests of the class ``path``, or tests that belong to no class if it is empty."""
    owner = tests[0].owner
    members = owner.members if owner else {}
    yield from (_call(path, members, name) for name in ("setup_class", "setUpClass") if name in members)
    for test in tests:
        name = test.label.rpartition(".")[2]
        if owner:
            before = [f"case = {path}()", *_calls("case", members, ("setup_method", "setUp"), name)]
            after = _calls("case", members, ("tearDown", "teardown_method"), name)
            yield _run(test, path, f"case.{name}", before, after, with_params)
        else:
            before, after = (_calls("", functions, (item,), name) for item in ("setup_function", "teardown_function"))
            yield _run(test, path, name, before, after, with_params)
    yield from (_call(path, members, name) for name in ("tearDownClass", "teardown_class") if name in members)


def _calls(owner: str, functions: Mapping[str, Function], names: Sequence[str], test: str) -> list[str]:
    """Return calls of those functions of ``owner`` that are among ``names``, each for the test ``test`` of ``owner``."""
    return [_call(owner, functions, name, f"{owner}.{test}".removeprefix(".")) for name in names if name in functions]


def _call(owner: str, functions: Mapping[str, Function], name: str, test: str = "") -> str:
    """Return a call of a function that sets up or tears down, as source.

    ``owner`` is the instance ``case``, a class, or empty for the module. Pytest gives a function that takes an argument the test,
    the class or the module. A module has no value here, so None takes its place.
    """
    node = functions[name]
    is_class_method = any("classmethod" in ast.unparse(item) for item in node.decorator_list)
    is_bound = bool(owner) and (owner == "case" or is_class_method)
    argument = (test or owner or "None") if len(node.args.args) > int(is_bound) else ""
    return f"{owner}.{name}({argument})".removeprefix(".")


def _run(test: FoundTest, path: str, called: str, before: list[str], after: list[str], with_params: bool) -> str:
    """Return the block that runs one test, between ``before`` and ``after``, once for each combination of its parameters.

    ``path`` is the path of its class, or empty, and ``called`` is the expression for the test's function.
    """
    name = called.rpartition(".")[2]
    values = [f"({ast.unparse(given.values)})" for given in test.around]
    for number, given in enumerate(test.own):
        # The values of a method are assigned to an attribute of its class, since they may use other attributes of the class.
        values.append(f"{path}.{values_name(name, number)}" if path else f"({ast.unparse(given.values)})")
    parameters = [*test.around, *test.own]
    body = f"{called}({', '.join(f'{name}=_{name}' for given in parameters for name in given.names)})"
    if after:
        body = "try:\n" + textwrap.indent(body, "    ") + "\nfinally:\n" + textwrap.indent("\n".join(after), "    ")
    block = f"with independent_test({test.label!r}):\n" + textwrap.indent("\n".join([*before, body]), "    ")
    for given, text in reversed(list(zip(parameters, values, strict=True))):
        block = f"{given.loop(text, with_params=with_params)}\n{textwrap.indent(block, '    ')}"
    return block
