"""Read the inputs of EvalPlus's records as Python values: from the JSON of its releases, or from the tests of its sets on the hub.

JSON has no tuples, sets or complex numbers. The inputs of a release are therefore converted to the types of the values in an
example, which is a call in an assert of the record. The tests on the hub hold literals of Python, which need no conversion:

    >>> release_inputs({"base_input": [[[3, 4]]], "plus_input": []}, [ast.parse("(1, 2)", mode="eval").body])
    [[(3, 4)]]
    >>> hub_inputs("def check(candidate):\\n    inputs = [[(1, 2)], [{3}]]\\n")
    [[(1, 2)], [{3}]]
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlx_selfdebug.parsing import parse_expression

_INPUTS = re.compile(r"^[ \t]*inputs = (\[.*\])[ \t]*$", re.MULTILINE)
"""Matches the line of a test in the hub's form that holds all inputs. The group is the list."""
_ATOL = re.compile(r"(?:assertion\(.*, |<= )(\d[\d.e-]*)\)?$")
"""Finds the tolerance in the last line of such a test: ``assertion(candidate(*inp), exp, 0.1)`` or ``assert ... <= 0.1``."""
_CONTAINERS: Mapping[type, Callable[[Any], Any]] = {ast.Tuple: tuple, ast.Set: set, ast.List: list}
"""The type of container that a syntax node writes, by the type of the node."""


def release_inputs(record: Mapping[str, Any], example: Sequence[ast.expr] | None) -> list[list[Any]]:
    """Return the list of arguments of each input of a record of a release.

    ``example`` has the syntax nodes of the arguments in an example call, or is None if there is no example. Raises ValueError if
    the inputs are not JSON, or not a list.
    """
    return [_typed(values, example) for key in ("base_input", "plus_input") for values in _inputs(record[key])]


def hub_inputs(test: str) -> list[list[Any]]:
    """Return the list of arguments of each input from the line ``inputs = [...]`` of a test in the hub's form.

    The test is not parsed as a whole, since its expected values may be numbers with more digits than Python reads. Raises
    ValueError if there is no such line, or if it does not hold lists of literals.
    """
    line = _INPUTS.search(test)
    if line is None:
        raise ValueError("the test has no line inputs = [...], as EvalPlus's sets on the hub have it")
    inputs = ast.literal_eval(_Numbers().visit(parse_expression(line[1])))
    if not all(isinstance(arguments, list | tuple) for arguments in inputs):
        raise ValueError("the inputs are not lists of arguments")
    return [list(arguments) for arguments in inputs]


def hub_atol(test: str) -> float:
    """Return the tolerance of a test in the hub's form, or 0 if it names none."""
    tolerance = _ATOL.search(test.rstrip().rpartition("\n")[2])
    return float(tolerance[1]) if tolerance else 0.0


class _Numbers(ast.NodeTransformer):
    """Replaces the names ``inf`` and ``nan``, which are the ``repr`` of floats but not literals, by their values."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(float(node.id)) if node.id in ("inf", "nan") else node


def _inputs(value: Any) -> list[list[Any]]:
    """Return the list of arguments of each input in a field of a release. Raises ValueError if ``value`` holds no list.

    The field may be a string of JSON, and its value may be an object whose values are the inputs.
    """
    inputs = json.loads(value) if isinstance(value, str) else value
    if isinstance(inputs, dict):
        inputs = list(inputs.values())
    if not isinstance(inputs, list):
        raise ValueError("the inputs are not a list")
    return [arguments if isinstance(arguments, list) else [arguments] for arguments in inputs]


def _typed(values: list[Any], example: Sequence[ast.expr] | None) -> list[Any]:
    """Return arguments from JSON, each converted to the type of the same argument in ``example``."""
    if example is None or len(example) != len(values):
        return values
    return [_converter(node)(value) for node, value in zip(example, values, strict=True)]


def _converter(example: ast.expr) -> Callable[[Any], Any]:
    """Return a function that converts a value from JSON to the type of ``example``, and its elements likewise.

    For the example ``[(1, 2)]``, the function converts ``[[3, 4], [5, 6]]`` to ``[(3, 4), (5, 6)]``.
    """
    container = _CONTAINERS.get(type(example))
    if container is None:
        is_number = isinstance(example, ast.Constant) and isinstance(example.value, int | float | complex)
        return _number if is_number else _unchanged
    examples: list[ast.expr] = getattr(example, "elts", [])
    convert_nested = next((_converter(node) for node in examples if type(node) in _CONTAINERS), None)
    convert_plain = next((_converter(node) for node in examples if type(node) not in _CONTAINERS), _unchanged)

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        # If the example has as many elements as the value, the two correspond one by one.
        nodes = examples if len(examples) == len(value) else [None] * len(value)
        return container(convert_element(element, node) for element, node in zip(value, nodes, strict=True))

    def convert_element(element: Any, node: ast.expr | None) -> Any:
        is_list = isinstance(element, list)
        if node is not None and (type(node) in _CONTAINERS) == is_list:
            return _converter(node)(element)
        if not is_list:
            return convert_plain(element)  # like the first element of the example that is no container
        # A list is converted like the first container in the example. Without one, it is converted like the value that holds it.
        return (convert_nested or convert)(element)

    return convert


def _unchanged(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    """Return the number that a string holds, since the releases write complex numbers as strings. Other values are returned."""
    for make in (int, float, complex) if isinstance(value, str) else ():
        try:
            return make(value)
        except ValueError:
            continue
    return value
