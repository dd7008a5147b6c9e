"""Values of NumPy in place of plain data: equal by value, compared at the trusted end, and no way into its memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlx_selfdebug.sandbox import Limits, TestRunner, Verdict
from mlx_selfdebug.values.checks import Checks

SETUP = "import math\nimport numpy as np\nfrom datetime import date, datetime, timedelta\n"


@pytest.fixture(scope="module")
def numpy_runner() -> Iterator[TestRunner]:
    limits = Limits(wall_s=60, cpu_s=60, memory_bytes=1 << 30)
    with TestRunner(workers=1, limits=limits, packages=("numpy",)) as runner:
        yield runner


def judged(runner: TestRunner, value: str, *asserts: str) -> Verdict:
    return runner.run(f"import numpy as np\ndef f(x=None): return {value}\n", Checks.from_asserts(asserts, SETUP), "f")


@pytest.mark.parametrize(
    ("value", "check"),
    [
        ("np.int64(3)", "assert f() == 3 and type(f()) is int"),
        ("np.uint8(3)", "assert f() < 4 and 3 in [f()] and [1, 2, 3, 4][f()] == 4"),
        ("np.float64(0.5)", "assert f() == 0.5 and isinstance(f(), float) and f'{f():.2f}' == '0.50'"),
        (
            "np.float64(0.1) + np.float64(0.2)",
            "assert math.isclose(f(), 0.3) and f() == approx(0.3) and abs(f() - 0.3) < 1e-9",
        ),
        ("np.float32(0.25)", "assert f() == 0.25"),
        ("np.bool_(True)", "assert f() is True"),
        ("np.bool_(False)", "assert not f()"),
        ("np.str_('ab')", "assert f() == 'ab' and f().upper() == 'AB'"),
        ("np.bytes_(b'ab')", "assert f() == b'ab'"),
        ("np.complex128(1 + 2j)", "assert f() == 1 + 2j"),
        ("np.array(7)", "assert f() == 7"),
        ("np.datetime64('2024-01-02')", "assert f() == date(2024, 1, 2)"),
        ("np.datetime64('2024-01-02T03:04', 'ns')", "assert f() == datetime(2024, 1, 2, 3, 4)"),
        ("np.timedelta64(90, 'm')", "assert f() == timedelta(hours=1.5)"),
        ("[np.int64(1), (np.float64(2.5), None)]", "assert f() == [1, (2.5, None)]"),
        (
            "{np.str_('a'): np.int64(1), np.int64(2): np.bool_(True)}",
            "assert f() == {'a': 1, 2: True} and f()['a'] == 1",
        ),
        ("{np.int64(1), np.int64(2)}", "assert f() == {1, 2} and 2 in f()"),
        ("sorted(np.array([2, 1]))", "assert f() == [1, 2] and sum(f()) == 3"),
        ("dict(zip(*np.unique([1, 1, 2], return_counts=True)))", "assert f() == {1: 2, 2: 1}"),
        ("x(np.int64(4))", "assert f(lambda n: n + 1) == 5"),
    ],
)
def test_a_scalar_is_the_plain_value_that_it_holds(numpy_runner: TestRunner, value: str, check: str) -> None:
    verdict = judged(numpy_runner, value, check)
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("value", "check"),
    [
        ("np.array([1, 2, 3])", "assert f() == [1, 2, 3] and [1, 2, 3] == f() and f() != [1, 2]"),
        ("np.array([[1.5, 2], [3, 4]])", "assert f() == [[1.5, 2.0], [3.0, 4.0]]"),
        ("np.array([True, False])", "assert f() == [True, False]"),
        ("{'a': np.array([1, 2])}", "assert f() == {'a': [1, 2]}"),
        ("[np.zeros(2), np.array(['x'])]", "assert f() == [[0.0, 0.0], ['x']]"),
        ("np.array([0.1]) + 0.2", "assert f() == approx([0.3])"),
        (
            "np.array([1, 2])",
            "assert list(f()) == [1, 2] and len(f()) == 2 and f()[0] == 1 and sum(f()) == 3 and 2 in f()",
        ),
        (
            "np.array([1, 2])",
            "assert f().tolist() == [1, 2] and f().shape == (2,) and f().sum() == 3 and f().dtype.kind == 'i'",
        ),
        ("np.array([1, 2])", "assert np.array_equal(f(), [1, 2]) and np.allclose(f(), [1.0, 2.0])"),
        ("np.array([1, 2])", "np.testing.assert_array_equal(f(), [1, 2])"),
        ("np.array([1, 2])", "assert (f() == np.array([1, 2])).all() and (np.array([2, 3]) - f()).tolist() == [1, 1]"),
        ("np.array(['2024-01-02'], dtype='M8[ns]')", "assert f() == [datetime(2024, 1, 2)]"),
        ("np.array(['2024-01-02'], dtype='M8[D]')", "assert f() == [date(2024, 1, 2)]"),
        ("np.array([(1, 0.5)], dtype=[('a', int), ('b', float)])", "assert f() == [(1, 0.5)]"),
    ],
)
def test_an_array_equals_the_list_of_its_elements(numpy_runner: TestRunner, value: str, check: str) -> None:
    verdict = judged(numpy_runner, value, check)
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("value", "check"),
    [
        ("np.int64(3)", "assert f() == 4"),
        ("np.int64(3)", "assert f() == '3'"),
        ("np.bool_(False)", "assert f()"),
        ("np.int64(1)", "assert f() is True"),
        ("np.array([1, 2])", "assert f() == [1, 3]"),
        ("np.array([1, 2])", "assert f() == (1, 2)"),
        ("np.array([1, 2])", "assert f() == [1, 2, 3]"),
        ("np.array([1])", "assert f() == 1"),
        ("np.array([[1, 2]])", "assert f() == [1, 2]"),
        ("np.array([1, 2])", "assert np.allclose(f(), [1, 3])"),
        ("np.array([1, 2])", "assert f() != [1, 2]"),
        ("np.array([1, 2])", "assert f()"),
        ("np.longdouble(1)", "assert f() == 1"),
        ("np.datetime64('2024-01-02T00:00:00.000000001')", "assert f() == datetime(2024, 1, 2)"),
        ("np.datetime64('NaT')", "assert f() is None"),
    ],
)
def test_another_value_of_numpy_does_not_pass(numpy_runner: TestRunner, value: str, check: str) -> None:
    assert judged(numpy_runner, value, check).outcome in ("failed", "bad_value", "raised")


LIAR = """
import numpy as np
from unittest.mock import ANY
class Liar(np.ndarray):
    def yes(s, *a, **k): return True
    __eq__ = __ne__ = __lt__ = __le__ = __contains__ = yes
    def __sub__(s, o): return np.zeros_like(o).view(Liar)
    __rsub__ = __sub__
    def tolist(s): return ANY
class Pointer:
    def __init__(s, **names): s.__dict__.update(names)
    def __array__(s, *a, **k): return np.zeros(2)
    def __sub__(s, o): return np.zeros(2)
    __eq__ = lambda s, o: np.array([True, True])
held = np.zeros(2)
def f(kind):
    if kind == "liar": return np.ones(2).view(Liar)
    if kind == "interface": return Pointer(__array_interface__=held.__array_interface__)
    if kind == "struct": return Pointer(__array_struct__=held.__array_struct__)
    return Pointer()
"""


@pytest.mark.parametrize("kind", ["liar", "interface", "struct", "plain"])
@pytest.mark.parametrize(
    "check",
    [
        "assert f({0}) == [3.0, 9.0]",
        "assert not f({0}) != [3.0, 9.0]",
        "assert np.allclose(f({0}), [3.0, 9.0])",
        "assert np.array_equal([3.0, 9.0], f({0}))",
        "assert (f({0}) == np.array([3.0, 9.0])).all()",
        "assert np.abs(f({0}) - np.array([3.0, 9.0])).max() < 1e-6",
        "assert abs(f({0}) - 3).max() < 1e-6",
        "assert (f({0}) - 3) == [0.0, 0.0]",
        "assert np.allclose(f({0}) - 3, 0)",
        "np.testing.assert_allclose(f({0}), [3.0, 9.0])",
        "assert f({0}) == approx([3.0, 9.0])",
        "assert np.asarray(f({0})).tolist() == [3.0, 9.0]",
    ],
)
def test_no_lie_of_an_array_passes(numpy_runner: TestRunner, kind: str, check: str) -> None:
    verdict = numpy_runner.run(LIAR, Checks.from_asserts([check.format(repr(kind))], SETUP), "f")
    assert verdict.outcome in ("failed", "bad_value", "raised"), verdict


@pytest.mark.parametrize("name", ["__array_interface__", "__array_struct__", "__cuda_array_interface__", "__dlpack__"])
def test_the_candidate_is_never_asked_where_its_data_lie(numpy_runner: TestRunner, name: str) -> None:
    source = f"class P:\n  {name} = 3\ndef f(): return P()\n"
    checks = Checks.from_asserts([f"p = f()\nwith raises(AttributeError):\n    p.{name}"])
    assert numpy_runner.run(source, checks, "f").passed
