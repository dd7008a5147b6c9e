"""Right answers and wrong ones that are close to them, for tests that no wrong answer passes for a right one."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

words = st.text("ab1 .", max_size=4)
integers = st.integers(-(10**12), 10**12)
fractions = st.decimals(-(10**9), 10**9, places=2).map(float)
json_values = st.recursive(
    st.none() | st.booleans() | integers | fractions | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def close_to(draw: st.DrawFn, value: Any) -> Any:
    """Return another value that is close to ``value``: a part of it is changed by little or has another type."""
    if isinstance(value, list) and value:
        place = draw(st.integers(0, len(value)))
        if place == len(value):
            return draw(st.sampled_from([value[:-1], [*value, value[-1]], [value]]))
        return [*value[:place], close_to(draw, value[place]), *value[place + 1 :]]
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from(sorted(value)))
        rest = {name: part for name, part in value.items() if name != key}
        return draw(st.sampled_from([rest, {**rest, key + "'": value[key]}, {**rest, key: close_to(draw, value[key])}]))
    return draw(st.sampled_from(_close_to_a_part(value)))


def _close_to_a_part(value: Any) -> list[Any]:
    if value is None or isinstance(value, list | dict):
        return [False, 0, "", "null", *([[]] if value is None else [None])]
    if isinstance(value, bool):
        return [not value, int(value), float(value), str(value), str(value).lower()]
    if isinstance(value, int | float):
        step = 1 if isinstance(value, int) else 0.01
        others = [value + step, value - step, str(value), [value], *([-value] if value else [False, None])]
        return [*others, *([bool(value)] if value == 1 else [])]
    return [value + " ", " " + value, value + "1", [value], None]


@st.composite
def pairs(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> tuple[Any, Any]:
    """A right value and a wrong one that is close to it."""
    value = draw(values)
    return value, close_to(draw, value)
