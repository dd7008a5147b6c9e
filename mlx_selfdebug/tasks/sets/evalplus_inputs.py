"""Read the inputs of EvalPlus's records as Python values, from the JSON of its releases and from the tests of its sets on the hub.

JSON has no tuples, sets and complex numbers. The inputs of a release are converted to these where an assert of the record writes
them.

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


def release_inputs(record: Mapping[str, Any], shape: Sequence[ast.expr] | None) -> list[list[Any]]:
    """Return a list of arguments per input of a record of a release. ``shape`` has the arguments as an assert writes them."""
    return [_shaped(values, shape) for key in ("base_input", "plus_input") for values in _inputs(record[key])]


def hub_inputs(test: str) -> list[list[Any]]:
    """Return a list of arguments per input from the line ``inputs = [...]`` of a test in the hub's form.

    The test is not parsed as a whole, since it may hold expected values that are numbers of more digits than Python reads.
    """
    line = _INPUTS.search(test)
    if line is None:
        raise ValueError("the test has no line inputs = [...], as EvalPlus's sets on the hub have it")
    inputs = ast.literal_eval(_Numbers().visit(parse_expression(line[1])))
    if not all(isinstance(arguments, list | tuple) for arguments in inputs):
        raise ValueError("the inputs are not lists of arguments")
    return [list(arguments) for arguments in inputs]


def hub_atol(test: str) -> float:
    """Return the tolerance of a test in the hub's form, whose last line is like ``assertion(candidate(*inp), exp, 0.1)``."""
    tolerance = re.search(r"(?:assertion\(.*, |<= )(\d[\d.e-]*)\)?$", test.rstrip().rpartition("\n")[2])
    return float(tolerance[1]) if tolerance else 0.0


class _Numbers(ast.NodeTransformer):
    """Replaces the names ``inf`` and ``nan``, as numbers without literals are printed, by their values."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(float(node.id)) if node.id in ("inf", "nan") else node


def _inputs(value: Any) -> list[list[Any]]:
    """Return a list of arguments per input. Raises ValueError if ``value`` is a string that holds no JSON list."""
    inputs = json.loads(value) if isinstance(value, str) else value
    if isinstance(inputs, dict):
        inputs = list(inputs.values())
    if not isinstance(inputs, list):
        raise ValueError("the inputs are not a list")
    return [arguments if isinstance(arguments, list) else [arguments] for arguments in inputs]


def _shaped(values: list[Any], shape: Sequence[ast.expr] | None) -> list[Any]:
    if shape is None or len(shape) != len(values):
        return values
    return [_as(node)(value) for node, value in zip(shape, values, strict=True)]


def _as(node: ast.expr) -> Callable[[Any], Any]:
    """Return a function that converts a value from JSON to the type that ``node`` writes, with elements like those of ``node``."""
    kinds: Mapping[type, Callable[[Any], Any]] = {ast.Tuple: tuple, ast.Set: set, ast.List: list}
    make = kinds.get(type(node))
    if make is None:
        return _number if isinstance(node, ast.Constant) and isinstance(node.value, int | float | complex) else _itself
    elements: list[ast.expr] = getattr(node, "elts", [])
    nested = next((_as(element) for element in elements if type(element) in kinds), None)
    plain = next((_as(element) for element in elements if type(element) not in kinds), _itself)

    def convert(value: Any) -> Any:
        # An element is converted like the example's element at the same place if both are lists or neither is. Otherwise it is
        # converted like the first element of the same kind, and a list without such an example like the value that holds it.
        if not isinstance(value, list):
            return value
        places = elements if len(elements) == len(value) else [None] * len(value)
        return make(element(item, place) for item, place in zip(value, places, strict=True))

    def element(item: Any, place: ast.expr | None) -> Any:
        is_list = isinstance(item, list)
        if place is not None and (type(place) in kinds) == is_list:
            return _as(place)(item)
        return (nested or convert)(item) if is_list else plain(item)

    return convert


def _itself(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    """Return the number that a string holds. JSON has no complex numbers, so the set writes them as strings."""
    for make in (int, float, complex) if isinstance(value, str) else ():
        try:
            return make(value)
        except ValueError:
            continue
    return value
