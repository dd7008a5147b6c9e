"""Read the inputs of EvalPlus's records as Python values: from the JSON of its releases, or from the tests of its sets on the hub.

JSON has no tuples, sets or complex numbers. Where an assert of the record shows such a value, the inputs of a release are converted
to it.

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
"""The line of a test in the hub's form that holds all inputs."""
_ATOL = re.compile(r"(?:assertion\(.*, |<= )(\d[\d.e-]*)\)?$")
"""The tolerance in the last line of such a test: ``assertion(candidate(*inp), exp, 0.1)`` or ``assert ... <= 0.1``."""
_MAKERS: Mapping[type, Callable[[Any], Any]] = {ast.Tuple: tuple, ast.Set: set, ast.List: list}
"""What makes a value of the elements that a node of this type has."""


def release_inputs(record: Mapping[str, Any], shape: Sequence[ast.expr] | None) -> list[list[Any]]:
    """Return the list of arguments of each input of a record of a release.

    ``shape`` has the arguments of an example as an assert writes them, or is None if there is no example.
    Raises ValueError if the inputs are not JSON, or not a list.
    """
    return [_shaped(values, shape) for key in ("base_input", "plus_input") for values in _inputs(record[key])]


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
    """Return the list of arguments of each input in a field of a release. Raises ValueError if ``value`` holds no list."""
    inputs = json.loads(value) if isinstance(value, str) else value
    if isinstance(inputs, dict):
        inputs = list(inputs.values())
    if not isinstance(inputs, list):
        raise ValueError("the inputs are not a list")
    return [arguments if isinstance(arguments, list) else [arguments] for arguments in inputs]


def _shaped(values: list[Any], shape: Sequence[ast.expr] | None) -> list[Any]:
    """Return arguments from JSON, converted to the types that the arguments in ``shape`` have."""
    if shape is None or len(shape) != len(values):
        return values
    return [_converter(node)(value) for node, value in zip(shape, values, strict=True)]


def _converter(example: ast.expr) -> Callable[[Any], Any]:
    """Return a function that converts a value from JSON to the type of ``example``. Elements get the types of its elements."""
    make = _MAKERS.get(type(example))
    if make is None:
        is_number = isinstance(example, ast.Constant) and isinstance(example.value, int | float | complex)
        return _number if is_number else _unchanged
    examples: list[ast.expr] = getattr(example, "elts", [])
    convert_nested = next((_converter(node) for node in examples if type(node) in _MAKERS), None)
    convert_plain = next((_converter(node) for node in examples if type(node) not in _MAKERS), _unchanged)

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        # Where the value has as many elements as the example, each is converted like the one at its place.
        nodes = examples if len(examples) == len(value) else [None] * len(value)
        return make(convert_element(element, node) for element, node in zip(value, nodes, strict=True))

    def convert_element(element: Any, node: ast.expr | None) -> Any:
        is_list = isinstance(element, list)
        if node is not None and (type(node) in _MAKERS) == is_list:
            return _converter(node)(element)
        # Otherwise the first element of the example that is also a list, or also none, tells how. If none is a list, a list is
        # converted like the value that holds it.
        return (convert_nested or convert)(element) if is_list else convert_plain(element)

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
