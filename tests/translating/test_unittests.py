"""Test modules as checks: the same verdict as the framework would give, with facts."""

from __future__ import annotations

import io
import textwrap
import unittest

import pytest

from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.values.checks import Checks

MODULE = """
import unittest
from solution import f


class TestF(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = 1

    def setUp(self):
        self.xs = [1, 2]

    def tearDown(self):
        self.xs.clear()

    def test_body(self):
        {body}

    def helper(self):
        self.assertEqual(f(2), 2)


if __name__ == "__main__":
    unittest.main()
"""
SOURCES = {
    "identity": "def f(x): return x",
    "none": "def f(x): return None",
    "raises": "def f(x): raise ValueError('bad value')",
    "key": "def f(x): raise KeyError(x)",
    "list": "def f(x): return [x, x + 1]",
    "half": "def f(x): return x / 2",
    "near": "def f(x): return x + 1e-9",
    "text": "def f(x): return 'abc'",
    "bool": "def f(x): return x > 1",
}
BODIES = [
    "self.assertEqual(f(1), 1)", "self.assertEqual(1, f(1), 'a message')", "self.assertNotEqual(f(1), 1)",
    "self.assertTrue(f(2))", "self.assertFalse(f(0))", "self.assertIn(f(1), self.xs)", "self.assertNotIn(3, f(1) or [])",
    "self.assertIsNone(f(1))", "self.assertIsNotNone(f(1))", "self.assertIs(f(1), None)", "self.assertIsInstance(f(1), int)",
    "self.assertIsInstance(f(1), (list, str))", "self.assertNotIsInstance(f(1), str)", "self.assertGreater(f(2), self.base)",
    "self.assertLessEqual(f(2), 2)", "self.assertAlmostEqual(f(1), 1)", "self.assertAlmostEqual(f(1), 1, places=12)",
    "self.assertAlmostEqual(f(1), 1.4, delta=0.5)", "self.assertAlmostEqual(f(1), 1, 3)", "self.assertNotAlmostEqual(f(1), 1)",
    "self.assertListEqual(f(1), [1, 2])", "self.assertCountEqual(f(1), [2, 1])", "self.assertRegex(f(1), 'b')",
    "self.assertRaises(ValueError, f, 1)", "with self.assertRaises(KeyError):\n            f(1)",
    "with self.assertRaises(ValueError) as caught:\n            f(1)\n        self.assertIn('bad', str(caught.exception))",
    "with self.assertRaisesRegex(ValueError, 'v.lue'):\n            f(1)", "self.assertRaisesRegex(ValueError, 'other', f, 1)",
    "with self.assertRaisesRegex(ValueError, expected_regex='v.lue'):\n            f(1)",
    "with self.assertRaises((KeyError, ValueError)):\n            f(1)", "with self.assertRaises(Exception):\n            f(1)",
    "for n in self.xs:\n            with self.subTest(n=n):\n                self.assertEqual(f(n), n)", "self.helper()",
    "x = f(1)\n        if x is None:\n            self.fail('none')", "self.xs.append(f(1))\n        self.assertEqual(len(self.xs), 3)",
]  # fmt: skip


@pytest.fixture(scope="module")
def runner():
    with TestRunner(workers=2, limits=Limits(wall_s=60, cpu_s=60)) as runner:
        yield runner


def really_passes(module: str, source: str) -> bool:
    namespace: dict = {"__name__": "tested"}
    exec(source, namespace)
    exec(module.replace("from solution import f", ""), namespace)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(namespace["TestF"])
    return unittest.TextTestRunner(stream=io.StringIO()).run(suite).wasSuccessful()


@pytest.mark.parametrize("body", BODIES)
def test_the_verdict_is_unittests_own(runner: TestRunner, body: str):
    module = MODULE.format(body=body)
    checks = Checks.from_unittest(module)
    verdicts = {name: runner.submit(source, checks, "f") for name, source in SOURCES.items()}
    passed = {name: verdict.result().passed for name, verdict in verdicts.items()}
    assert passed == {name: really_passes(module, source) for name, source in SOURCES.items()}
    assert "infrastructure" not in {verdict.result().outcome for verdict in verdicts.values()}


def test_an_assertion_gives_facts(runner: TestRunner):
    failure = runner.run("def f(x): return 3", Checks.from_unittest(MODULE.format(body=BODIES[0])), "f").failures[0]
    assert (failure.input, failure.expected, failure.expected_kind, failure.got) == ("1", "1", "value", "3")
    almost = Checks.from_unittest(MODULE.format(body="self.assertAlmostEqual(f(1), 1.5)"))
    failure = runner.run("def f(x): return 3", almost, "f").failures[0]
    assert (failure.expected, failure.expected_kind, failure.got) == ("1.5", "approx", "3")


def test_tests_are_independent_of_each_other(runner: TestRunner):
    body = "x = f(1)[0]\n\n    def test_other(self):\n        self.assertEqual(f(1), None)"
    verdict = runner.run(SOURCES["none"], Checks.from_unittest(MODULE.format(body=body)), "f")
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == ("failed", 1, 2)
    assert verdict.failures[0].check == "TestF.test_body"


PYTEST = """
    import pytest
    from solution import f

    LIMIT = 3

    def test_plain():
        assert f(2) == 4

    @pytest.mark.parametrize("x, y", [(1, 2), (2, 4)])
    def test_many(x, y):
        assert f(x) == pytest.approx(y)

    @pytest.mark.parametrize("x", [1, LIMIT])
    def test_one(x):
        assert f(x) > x

    def test_raises():
        with pytest.raises(TypeError, match="NoneType"):
            f(None)

    class TestGroup:
        def setup_method(self):
            self.x = 5

        def test_in_class(self):
            assert f(self.x) == 10
"""


def test_pytests_functions_and_classes_are_understood(runner: TestRunner):
    checks = Checks.from_unittest(PYTEST)
    verdict = runner.run("def f(x): return x + x", checks, "f")
    assert (verdict.outcome, verdict.n_passed, verdict.n_checks) == ("passed", 7, 7), verdict
    wrong = runner.run("def f(x): return x + 1", checks, "f")
    assert (wrong.outcome, wrong.n_passed, wrong.n_checks) == ("failed", 4, 7), wrong


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",
        "def test_f(tmp_path):\n    assert f(tmp_path)",
        "import pytest\n@pytest.mark.skipif(True, reason='')\ndef test_f():\n    assert f(1)",
        "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n        self.assertWarns(Warning, f)",
        "import unittest\nfrom unittest import mock\ndef test_f():\n    unittest.mock.patch('x')",
    ],
)
def test_what_is_not_understood_is_refused(source: str):
    with pytest.raises(ValueError, match=r"not supported|no tests"):
        Checks.from_unittest(textwrap.dedent(source))
