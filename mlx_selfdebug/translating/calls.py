"""Write the function ``check(candidate)`` that runs tests, with their parameters, set-up and tear-down.

For a ``TestCase`` with one test, it is this:

    def check(candidate):
        TestPrices.setUpClass()
        with independent_test('TestPrices.test_total'):
            _check_instance = TestPrices()
            _check_instance.setUp()
            try:
                _check_instance.test_total()
            finally:
                _check_instance.tearDown()
        TestPrices.tearDownClass()

``for`` loops around a test give it the values of ``parametrize``.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from mlx_selfdebug.translating.classes import Function
from mlx_selfdebug.translating.collection import FoundTest
from mlx_selfdebug.translating.marks import variable_for

MODULE_FUNCTIONS = (
    "setUpModule", "setup_module", "tearDownModule", "teardown_module", "setup_function", "teardown_function"
)  # fmt: skip
"""The functions of a module that set up or tear down the module or its tests. ``check`` calls them."""
_INSTANCE = "_check_instance"
"""The variable of ``check`` that holds the instance of a test class. No module is likely to have a variable of this name."""


def values_name(test: str, number: int) -> str:
    """Return the name of the class attribute that holds the values of the ``number``-th ``parametrize`` of a method, from 0."""
    return f"_values_{test}_{number}"


def check_source(tests: Iterable[FoundTest], functions: Mapping[str, Function], *, with_params: bool) -> str:
    """Return the source of ``check``, which runs ``tests`` in their order.

    ``functions`` are the functions of the module, by name. ``with_params`` says whether the module uses ``pytest.param``.
    """
    lines = _fixture_calls("", functions, ("setUpModule", "setup_module"))
    for path, tests_of_class in groupby(tests, lambda test: test.label.rpartition(".")[0]):
        lines += _class_statements(path, list(tests_of_class), functions, with_params)
    lines += _fixture_calls("", functions, ("tearDownModule", "teardown_module"))
    return "def check(candidate):\n" + textwrap.indent("\n".join(lines), "    ") + "\n"


def _class_statements(
    path: str, tests: Sequence[FoundTest], functions: Mapping[str, Function], with_params: bool
) -> Iterator[str]:
    """Yield the statements that run the tests of the class ``path``. If ``path`` is empty, the tests belong to no class."""
    owner = tests[0].owner
    members = owner.members if owner else {}
    yield from _fixture_calls(path, members, ("setup_class", "setUpClass"))
    for test in tests:
        name = test.label.rpartition(".")[2]
        if owner:
            set_up = _fixture_calls(_INSTANCE, members, ("setup_method", "setUp"), name)
            before = [f"{_INSTANCE} = {path}()", *set_up]
            after = _fixture_calls(_INSTANCE, members, ("tearDown", "teardown_method"), name)
            yield _test_block(test, path, f"{_INSTANCE}.{name}", before, after, with_params)
        else:
            before = _fixture_calls("", functions, ("setup_function",), name)
            after = _fixture_calls("", functions, ("teardown_function",), name)
            yield _test_block(test, path, name, before, after, with_params)
    yield from _fixture_calls(path, members, ("tearDownClass", "teardown_class"))


def _fixture_calls(owner: str, functions: Mapping[str, Function], names: Sequence[str], test: str = "") -> list[str]:
    """Return the source of a call of each of ``names`` that ``functions`` defines, in the order of ``names``.

    ``owner`` is the expression for the instance or class that has the functions, or empty for functions of the module. ``test`` is
    the name of the test that is set up or torn down, or empty if that is the class or module.
    """
    subject = f"{owner}.{test}".removeprefix(".") if test else owner
    return [_fixture_call(owner, functions[name], subject) for name in names if name in functions]


def _fixture_call(owner: str, function: Function, subject: str) -> str:
    """Return the source of a call of one function that sets up or tears down ``subject``: a test, a class or the module.

    If the function takes an argument, pytest passes the test, the class or the module. A module, for which ``subject`` is empty,
    cannot be named here, so None is passed.
    """
    is_class_method = any("classmethod" in ast.unparse(item) for item in function.decorator_list)
    is_bound = owner == _INSTANCE or (bool(owner) and is_class_method)
    takes_argument = len(function.args.args) > int(is_bound)
    argument = (subject or "None") if takes_argument else ""
    return f"{owner}.{function.name}({argument})".removeprefix(".")


def _test_block(
    test: FoundTest, path: str, function: str, before: list[str], after: list[str], with_params: bool
) -> str:
    """Return the block that runs one test, between ``before`` and ``after``, once for each combination of its parameters.

    ``path`` is the path of its class, or empty, and ``function`` is the expression for the test's function.
    """
    name = function.rpartition(".")[2]
    values = [f"({ast.unparse(given.values)})" for given in test.around]
    for number, given in enumerate(test.own):
        # The values of a method are assigned to an attribute of its class, since they may use other attributes of the class.
        values.append(f"{path}.{values_name(name, number)}" if path else f"({ast.unparse(given.values)})")
    parameters = [*test.around, *test.own]
    arguments = (f"{argument}={variable_for(argument)}" for given in parameters for argument in given.names)
    body = f"{function}({', '.join(arguments)})"
    if after:
        body = "try:\n" + textwrap.indent(body, "    ") + "\nfinally:\n" + textwrap.indent("\n".join(after), "    ")
    block = f"with independent_test({test.label!r}):\n" + textwrap.indent("\n".join([*before, body]), "    ")
    for given, text in reversed(list(zip(parameters, values, strict=True))):
        block = f"{given.loop(text, with_params=with_params)}\n{textwrap.indent(block, '    ')}"
    return block
