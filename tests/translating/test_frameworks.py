"""Whole test modules in the styles that people write. Each test ends as it does under pytest, or the module is refused."""

from __future__ import annotations

import ast
import contextlib
import re
import subprocess
import sys
import unittest
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.translating.unittests import Suite
from mlx_selfdebug.values.checks import Checks

PROGRAMS = {
    "right": "def slug(text): return '-'.join(text.lower().split())\n",
    "no_blanks": "def slug(text): return text.lower()\n",
    "no_case": "def slug(text): return '-'.join(text.split())\n",
}
HEAD = "import pytest\nimport unittest\nfrom texts import slug\n\n"
MODULES = {
    "several_names": HEAD + "@pytest.mark.parametrize('wanted, text', [('a-b', 'A b'), ('', '')])\ndef test_a(text, wanted):\n    assert slug(text) == wanted\n",
    "by_keyword": HEAD + "@pytest.mark.parametrize(argnames='text, wanted', argvalues=[('A b', 'a-b'), ('', '')])\ndef test_a(text, wanted):\n    assert slug(text) == wanted\n",
    "one_name": HEAD + "@pytest.mark.parametrize('text', ['A', 'b'])\ndef test_a(text):\n    assert slug(text) == text.lower()\n",
    "one_name_in_a_tuple": HEAD + "@pytest.mark.parametrize(('text',), [('A',), ('b',)])\ndef test_a(text):\n    assert slug(text) == text.lower()\n",
    "one_name_in_a_list": HEAD + "@pytest.mark.parametrize(['text'], [['A'], ['b']])\ndef test_a(text):\n    assert slug(text) == text.lower()\n",
    "one_name_with_a_comma": HEAD + "@pytest.mark.parametrize('text,', ['A', 'b'])\ndef test_a(text):\n    assert slug(text) == text.lower()\n",
    "one_name_whose_values_are_tuples": HEAD + "@pytest.mark.parametrize('pair', [('A b', 'a-b')])\ndef test_a(pair):\n    assert slug(pair[0]) == pair[1]\n",
    "stacked": HEAD + "@pytest.mark.parametrize('a', ['P', 'q'])\n@pytest.mark.parametrize('b', ['x', 'Y', 'z'])\ndef test_a(a, b):\n    assert slug(a + ' ' + b) == (a + '-' + b).lower()\n",
    "on_a_class": HEAD + "@pytest.mark.parametrize('text', ['A', 'b'])\nclass TestLow:\n    def test_a(self, text):\n        assert slug(text) == text.lower()\n\n    @pytest.mark.parametrize('end', ['', ' C'])\n    def test_b(self, text, end):\n        assert slug(text + end) == (text + end).lower().replace(' ', '-')\n",
    "params_with_ids": HEAD + "CASES = [pytest.param('A b', 'a-b', id='two'), ('', '')]\n\n@pytest.mark.parametrize('text, wanted', CASES, ids=str)\ndef test_a(text, wanted):\n    assert slug(text) == wanted\n\n@pytest.mark.parametrize('text', [pytest.param('A', id='one'), 'b'])\ndef test_b(text):\n    assert slug(text) == text.lower()\n",
    "names_for_marks": HEAD + "many = pytest.mark.parametrize('text', ['A', 'b'])\nparametrize = pytest.mark.parametrize\n\n@many\ndef test_a(text):\n    assert slug(text) == text.lower()\n\n@parametrize('text', ['A'])\ndef test_b(text):\n    assert slug(text) == 'a'\n",
    "marks_of_the_module": HEAD + "pytestmark = [pytest.mark.parametrize('text', ['A', 'b'])]\n\ndef test_a(text):\n    assert slug(text) == text.lower()\n",
    "values_of_the_class": HEAD + "class TestMany:\n    CASES = ['A', 'b']\n\n    @pytest.mark.parametrize('case', CASES)\n    def test_a(self, case):\n        assert slug(case) == case.lower()\n\nclass TestMore(TestMany):\n    pass\n",
    "arguments_with_defaults": HEAD + "@pytest.mark.parametrize('text', ['A'])\ndef test_a(text, wanted='a'):\n    assert slug(text) == wanted\n",
    "other_imports": "import pytest as pt\nfrom pytest import approx, mark, param as p, raises as fails\nimport texts as t\n\n@mark.parametrize('text', [p('A b')])\ndef test_a(text):\n    assert t.slug(text) == 'a-b'\n\ndef test_b():\n    with fails(AttributeError):\n        t.slug(None)\n\ndef test_c():\n    assert len(t.slug('A')) == pt.approx(approx(1).expected)\n",
    "raises_with_a_function": HEAD + "def test_a():\n    pytest.raises(AttributeError, slug, None)\n\ndef test_b():\n    pytest.raises(AttributeError, slug, 'a')\n",
    "module_by_name": "import texts\nimport texts as other\n\ndef test_a():\n    assert texts.slug('A b') == 'a-b'\n\ndef test_b():\n    assert other.slug('') == ''\n",
    "another_name": "from texts import slug as dashed\n\nmade = dashed\n\ndef test_a():\n    assert dashed('A b') == made('A b') == 'a-b'\n",
    "imported_inside": "def test_a():\n    from texts import slug\n    assert slug('A b') == 'a-b'\n\nclass TestIt:\n    def test_b(self):\n        import texts\n        assert texts.slug('A') == 'a'\n",
    "imported_if_possible": "try:\n    from .texts import slug\nexcept ImportError:\n    from texts import slug\n\ndef test_a():\n    assert slug('A b') == 'a-b'\n",
    "path_and_main": "import sys\nimport unittest\nimport os\n\nHERE = os.path.dirname(os.path.abspath(__file__))\nsys.path.insert(0, HERE)\n\nfrom texts import slug\n\nclass SlugTest(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(slug('A b'), 'a-b')\n\nif __name__ == '__main__':\n    unittest.main()\n",
    "shadowed": "import texts\n\ndef test_a():\n    slug = texts.slug\n    for texts_ in ['A']:\n        assert slug(texts_) == 'a'\n\ndef test_b():\n    from texts import slug\n    made = [slug(texts) for texts in ['A b']]\n    assert made == ['a-b']\n",
    "annotated": "from __future__ import annotations\nfrom texts import slug\n\nCASES: list[tuple[Missing, str]] = [('A b', 'a-b')]\n\ndef test_a() -> None:\n    wanted: Missing\n    for text, wanted in CASES:\n        assert slug(text) == wanted\n",
    "own_base": HEAD + "class Base(unittest.TestCase):\n    def setUp(self):\n        super().setUp()\n        self.wanted = 'a-b'\n\n    def assertSlug(self, text, wanted):\n        self.assertEqual(slug(text), wanted)\n\nclass SlugTests(Base):\n    @classmethod\n    def setUpClass(cls):\n        super().setUpClass()\n        cls.text = 'A b'\n\n    def test_a(self):\n        self.assertEqual(slug(self.text), self.wanted)\n\n    def test_b(self):\n        self.assertSlug('', '')\n",
    "alias_of_the_base": "from unittest import TestCase as Case\nimport unittest as ut\nfrom texts import slug\n\nMade = ut.TestCase\n\nclass A(Case):\n    def test_a(self):\n        self.assertEqual(slug('A b'), 'a-b')\n\nclass B(ut.TestCase):\n    def test_b(self):\n        self.assertEqual(slug('A'), 'a')\n\nclass C(Made):\n    def test_c(self):\n        self.assertEqual(slug('b'), 'b')\n",
    "inherited": HEAD + "class Contract:\n    function = staticmethod(slug)\n    text = 'A b'\n\n    def test_a(self):\n        self.assertEqual(self.function(self.text), self.text.lower().replace(' ', '-'))\n\nclass FirstTest(Contract, unittest.TestCase):\n    pass\n\nclass SecondTest(Contract, unittest.TestCase):\n    text = 'c'\n",
    "inherited_by_pytest": HEAD + "class TestBase:\n    text = 'A b'\n\n    def test_a(self):\n        assert slug(self.text) == self.text.lower().replace(' ', '-')\n\n    def test_b(self):\n        assert slug('A') == 'a'\n\nclass TestMore(TestBase):\n    text = 'c'\n\n    def test_b(self):\n        assert slug('d') == 'd'\n",
    "nested": HEAD + "class TestOuter:\n    class TestInner:\n        def test_a(self):\n            assert slug('A b') == 'a-b'\n\n        class TestDeep:\n            def setup_method(self, method):\n                self.name = method.__name__\n\n            def test_b(self):\n                assert slug('A') == 'a' and self.name == 'test_b'\n\n    def test_c(self):\n        assert slug('c') == 'c'\n\nclass Holder:\n    class Base(unittest.TestCase):\n        def test_d(self):\n            self.assertEqual(slug('D'), 'd')\n\nclass FromHolder(Holder.Base):\n    pass\n",
    "set_up": HEAD + "LOG = []\n\ndef setup_module(module):\n    LOG.append('module')\n\ndef setup_function(function):\n    LOG.append('function')\n\ndef test_a():\n    assert slug('A b') == 'a-b' and LOG == ['module', 'function']\n\nclass TestIt:\n    def setup_class(cls):\n        cls.text = 'A'\n\n    def teardown_method(self):\n        LOG.append('method')\n\n    def test_b(self):\n        assert slug(self.text) == 'a'\n\n    def test_c(self):\n        assert slug('c') == 'c' and 'method' in LOG\n",
    "static_and_marked": HEAD + "class TestIt:\n    @staticmethod\n    def test_a():\n        assert slug('A b') == 'a-b'\n\n    @pytest.mark.slow\n    def test_b(self):\n        assert slug('A') == 'a'\n",
    "switched_off": HEAD + "class TestBase:\n    __test__ = False\n\n    def test_a(self):\n        assert slug(self.text) == 'a'\n\nclass TestMore(TestBase):\n    __test__ = True\n    text = 'A'\n",
    "cases_that_are_added": HEAD + "CASES = []\nfor n in range(3):\n    CASES.append(('A' * n, 'a' * n))\nCASES += [('A b', 'a-b')]\n\n@pytest.mark.parametrize('text, wanted', CASES)\ndef test_a(text, wanted):\n    assert slug(text) == wanted\n",
    "helpers_and_constants": HEAD + "import math\n\nLIMIT = int(math.sqrt(9))\n\ndef made(n):\n    return 'A ' * n\n\ndef wanted(n):\n    return '-'.join(['a'] * n)\n\ndef test_a():\n    assert [slug(made(n)) for n in range(LIMIT)] == [wanted(n) for n in range(LIMIT)]\n",
    "a_fixture_that_nothing_uses": HEAD + "@pytest.fixture\ndef unused():\n    return 1\n\ndef test_a():\n    assert slug('A') == 'a'\n",
    "values_with_an_underscore": HEAD + "_text = ['A', 'b']\n\n@pytest.mark.parametrize('text', _text)\ndef test_a(text):\n    assert slug(text) == text.lower()\n",
    "values_named_case": HEAD + "case = ['A', 'b']\n\n@pytest.mark.parametrize('text', case)\nclass TestLow:\n    def test_a(self, text):\n        assert slug(text) == text.lower()\n",
    "a_class_named_case": HEAD + "class case(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls):\n        cls.text = 'A b'\n\n    def test_a(self):\n        self.assertEqual(slug(self.text), 'a-b')\n",
    "fail": HEAD + "def test_a():\n    if slug('A b') != 'a-b':\n        pytest.fail('no dash')\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def runner() -> Iterator[TestRunner]:
    with TestRunner(workers=2, limits=Limits(wall_s=60, cpu_s=60)) as runner:
        yield runner


@pytest.fixture(scope="module")
def outcomes_of_pytest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Counter[str]]]:
    """How many tests of each module pass and fail under pytest, by program."""
    outcomes = {}
    for program, source in PROGRAMS.items():
        folder = tmp_path_factory.mktemp(program)
        (folder / "texts.py").write_text(source)
        (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
        for name, module in MODULES.items():
            (folder / f"test_{name}.py").write_text(module)
        command = [sys.executable, "-m", "pytest", "-rA", "--tb=no", "-p", "no:cacheprovider", "-W", "ignore", "."]
        printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
        lines = re.findall(r"^(PASSED|FAILED|ERROR) test_(\w+)\.py", printed, flags=re.MULTILINE)
        outcomes[program] = {name: Counter(word for word, of in lines if of == name) for name in MODULES}
    return outcomes


@pytest.mark.parametrize("name", MODULES)
def test_each_test_ends_as_it_does_under_pytest(runner: TestRunner, outcomes_of_pytest, name: str):
    checks = Checks.from_unittest(MODULES[name])
    runs = {program: runner.submit(source, checks, "slug") for program, source in PROGRAMS.items()}
    for program, run in runs.items():
        verdict, wanted = run.result(), outcomes_of_pytest[program][name]
        assert wanted["PASSED"] + wanted["FAILED"] > 0
        assert wanted["ERROR"] == 0
        assert (verdict.n_passed, verdict.n_checks) == (wanted["PASSED"], wanted.total()), (program, verdict)


REFUSED = {
    "an async test": ("async def test_a():\n    assert slug('A')", "test_a: async tests are not supported"),
    "an async method": ("import unittest\nclass T(unittest.IsolatedAsyncioTestCase):\n    async def test_a(self):\n        self.assertTrue(slug('A'))", "T.test_a: async tests are not supported"),
    "a base that is imported": ("from helpers import Base\nclass SlugTests(Base):\n    def test_a(self):\n        self.assertTrue(slug('A'))", "SlugTests.test_a: its base helpers.Base is imported, and a test run does not have it"),
    "a base of a base": ("from helpers import Base\nclass Own(Base):\n    pass\nclass TestSlug(Own):\n    def test_a(self):\n        assert slug('A')", "TestSlug.test_a: its base helpers.Base is imported"),
    "a class that inherits all its tests": ("from helpers import Contract\nclass TestSlug(Contract):\n    text = 'A'\ndef test_a():\n    assert slug('A')", "TestSlug: its base helpers.Contract is imported"),
    "a base that is computed": ("class TestSlug(made()):\n    def test_a(self):\n        assert slug('A')", "TestSlug.test_a: its base made() is not known from the source"),
    "a class that no framework runs": ("class Slug:\n    def test_a(self):\n        assert slug('A')\ndef test_b():\n    assert slug('A')", "Slug.test_a: its class is no TestCase"),
    "a class with an __init__": ("class TestSlug:\n    def __init__(self):\n        self.text = 'A'\n    def test_a(self):\n        assert slug(self.text)", "TestSlug.test_a: its class has an __init__"),
    "a name that is used twice": ("def test_a():\n    assert slug('A') == 'b'\ndef test_a():\n    assert slug('A')", "test_a: `test_a` is defined again below"),
    "a class that is defined twice": ("class TestIt:\n    def test_a(self):\n        assert slug('A') == 'b'\nclass TestIt:\n    def test_b(self):\n        assert slug('A')", "TestIt.test_a: `TestIt` is defined again below"),
    "a test in a branch": ("import sys\nif sys.version_info > (3,):\n    def test_a():\n        assert slug('A')", "test_a: it stands inside `if`"),
    "a class of tests in a branch": ("try:\n    class TestIt:\n        def test_a(self):\n            assert slug('A')\nfinally:\n    pass", "TestIt.test_a: it stands inside `try`"),
    "a test that is assigned": ("def make(n):\n    def inner():\n        assert slug('A' * n)\n    return inner\ntest_a = make(1)", "test_a: it is assigned"),
    "a test that is a lambda": ("test_a = lambda: slug('A')\ndef test_b():\n    assert slug('A')", "test_a: it is assigned"),
    "tests that are set": ("class TestIt:\n    pass\nfor n in range(3):\n    setattr(TestIt, f'test_{n}', lambda self: slug('A'))\ndef test_a():\n    assert slug('A')", "tests that are added by setattr or globals() are not supported (line 4)"),
    "tests that load_tests adds": ("def load_tests(loader, tests, pattern):\n    return tests\ndef test_a():\n    assert slug('A')", "load_tests is not supported"),
    "a fixture": ("def test_a(tmp_path):\n    assert slug('A')\ndef test_b(capsys):\n    assert slug('A')", "test_a: fixtures are not supported (tmp_path); test_b: fixtures are not supported (capsys)"),
    "a fixture that is used by itself": ("import pytest\n@pytest.fixture(autouse=True)\ndef prepared():\n    yield\ndef test_a():\n    assert slug('A')", "test_a: pytest.fixture is not supported"),
    "a fixture of a class": ("import pytest\nclass TestIt:\n    @pytest.fixture(autouse=True)\n    def prepared(self):\n        self.x = 1\n    def test_a(self):\n        assert slug('A')", "TestIt.test_a: pytest.fixture is not supported"),
    "a parameter for a fixture": ("import pytest\n@pytest.mark.parametrize('x', [1], indirect=True)\ndef test_a(x):\n    assert slug('A')", "test_a: parametrize with indirect is not supported"),
    "a param with marks": ("import pytest\n@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.skip)])\ndef test_a(x):\n    assert slug('A')", "test_a: pytest.param with marks is not supported"),
    "no values": ("import pytest\n@pytest.mark.parametrize('x', [])\ndef test_a(x):\n    assert slug('A')", "test_a: parametrize without any values is not supported"),
    "names that are computed": ("import pytest\nNAMES = 'x'\n@pytest.mark.parametrize(NAMES, [1])\ndef test_a(x):\n    assert slug('A')", "test_a: parametrize(NAMES, ...): the names have to be written as strings"),
    "an empty name": ("import pytest\n@pytest.mark.parametrize('', [1])\ndef test_a():\n    assert slug('A')", "test_a: parametrize('', ...): at least one name is needed"),
    "a name that is a comma": ("import pytest\n@pytest.mark.parametrize(',', [1])\ndef test_a():\n    assert slug('A')", "test_a: parametrize(',', ...): at least one name is needed"),
    "names that cannot be evaluated": ("import pytest\n@pytest.mark.parametrize({[]: 1}, [1])\ndef test_a(x):\n    assert slug('A')", "test_a: parametrize({[]: 1}, ...): the names have to be written as strings"),
    "parametrize without a call": ("import pytest\n@pytest.mark.parametrize\ndef test_a():\n    assert slug('A')", "test_a: pytest.mark.parametrize: parametrize needs names and values"),
    "a name that is not taken": ("import pytest\n@pytest.mark.parametrize('x, y', [(1, 2)])\ndef test_a(x):\n    assert slug('A')", "test_a: parametrize gives y"),
    "parametrize in a TestCase": ("import pytest, unittest\nclass T(unittest.TestCase):\n    @pytest.mark.parametrize('x', [1])\n    def test_a(self, x):\n        self.assertTrue(slug('A'))", "T.test_a: parametrize is not supported in a TestCase"),
    "a skip": ("import pytest\n@pytest.mark.skipif(True, reason='')\ndef test_a():\n    assert slug('A')", "test_a: the decorator pytest.mark.skipif(True, reason='') is not supported"),
    "a skip of a class": ("import unittest\n@unittest.skip('later')\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.assertTrue(slug('A'))", "T.test_a: the decorator unittest.skip('later') is not supported"),
    "a skip of a module": ("import pytest\npytestmark = pytest.mark.skip\ndef test_a():\n    assert slug('A')", "test_a: the decorator pytest.mark.skip is not supported"),
    "a mock that is imported by name": ("from unittest.mock import patch\ndef test_a():\n    with patch('x'):\n        assert slug('A')", "test_a: unittest.mock.patch is not supported"),
    "a mock in a helper": ("from unittest import mock\ndef helper():\n    return mock.Mock()\ndef other():\n    return helper()\ndef test_a():\n    assert slug(other())", "test_a: unittest.mock.Mock is not supported"),
    "a clean-up": ("import unittest\nclass T(unittest.TestCase):\n    def setUp(self):\n        self.addCleanup(print)\n    def test_a(self):\n        self.assertTrue(slug('A'))", "T.test_a: self.addCleanup is not supported"),
    "a decorator of another package": ("from hypothesis import given\n@given(1)\ndef test_a(x):\n    assert slug('A')", "test_a: the decorator given(1) is not supported"),
    "a file": ("from pathlib import Path\nCASES = Path(__file__).read_text()\ndef test_a():\n    assert slug('A') in CASES", "test_a: __file__ is not supported"),
    "raises whose result is used": ("import pytest\ndef test_a():\n    caught = pytest.raises(ValueError, slug, 1)\n    assert caught", "test_a: pytest.raises with a function is only supported as a statement of its own"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_test_that_cannot_be_run_is_named_with_the_reason(kind: str):
    source, reason = REFUSED[kind]
    with pytest.raises(ValueError, match=re.escape(reason)):
        Checks.from_unittest(source)


def test_one_test_of_four_that_is_understood_is_not_enough():
    source = "def test_a():\n    assert slug('') == ''\nasync def test_b():\n    assert slug('A')\ndef test_c(tmp_path):\n    pass\n"
    with pytest.raises(ValueError, match=r"test_b: .*test_c: "):
        Checks.from_unittest(source)


def test_what_a_refused_test_alone_needs_does_not_matter_to_others():
    source = "from unittest import mock\nMOCKS = [mock.Mock()]\ndef test_a():\n    assert MOCKS\ndef test_b():\n    assert slug('A')\n"
    assert [(case.label, bool(case.problem)) for case in Suite(source).cases] == [("test_a", True), ("test_b", False)]


def test_values_that_turn_out_to_be_none_are_no_passed_test(runner: TestRunner):
    head = "import pytest\nfrom pathlib import Path\nfrom texts import slug\n"
    cases = "@pytest.mark.parametrize('path', sorted(Path('cases').glob('*')))\ndef test_a(path):\n    assert slug(path) == 1\n"
    checks = Checks.from_unittest(f"{head}{cases}\ndef test_b():\n    assert slug('A') == 'a'\n")
    verdict = runner.run(PROGRAMS["right"], checks, "slug")
    assert verdict.outcome == "infrastructure"
    assert verdict.failures[0].error is not None
    assert "parametrize has no values" in verdict.failures[0].error.message


def test_functions_inside_functions_are_no_tests():
    Checks.from_unittest("def test_a():\n    def test_inner(x):\n        return x\n    assert slug(test_inner('A'))\n")


def test_data_whose_name_begins_with_test_is_no_test():
    Checks.from_unittest(
        "test_cases = [('A', 'a')]\ndef test_a():\n    for a, b in test_cases:\n        assert slug(a) == b\n"
    )


@st.composite
def modules_of_classes(draw: st.DrawFn) -> str:
    """A module whose classes inherit from each other and from TestCase, with tests that may replace inherited ones."""
    lines = ["import unittest"]
    names: list[str] = []
    for number in range(draw(st.integers(1, 5))):
        bases = draw(st.lists(st.sampled_from([*names, "unittest.TestCase"]), max_size=2, unique=True))
        name = draw(st.sampled_from(["Test", "Own"])) + str(number)
        tests = draw(st.lists(st.sampled_from(["test_a", "test_b", "helper"]), max_size=3, unique=True))
        lines += [
            f"class {name}({', '.join(bases)}):",
            *(f"    def {test}(self): assert slug('A')" for test in tests),
            "    x = 1",
        ]
        names.append(name)
    return "\n".join(lines)


def found_by_python(module: str) -> set[str]:
    namespace: dict[str, object] = {"__name__": "tested"}
    exec(module, namespace)
    classes = [kind for kind in namespace.values() if isinstance(kind, type)]
    tested = [kind for kind in classes if issubclass(kind, unittest.TestCase) or kind.__name__.startswith("Test")]
    return {f"{kind.__name__}.{name}" for kind in tested for name in dir(kind) if name.startswith("test")}


@given(modules_of_classes())
def test_inherited_tests_are_those_that_python_finds(module: str):
    try:
        found = found_by_python(module)
    except TypeError:  # the order of the bases contradicts itself
        return
    assert {case.label for case in Suite(module).cases if not case.problem} == found


@given(modules_of_classes())
def test_each_function_whose_name_begins_with_test_is_run_or_named(module: str):
    tree = ast.parse(module)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    labels = {case.label for case in Suite(module).cases}
    for kind in classes:
        for name in (
            item.name for item in kind.body if isinstance(item, ast.FunctionDef) and item.name.startswith("test")
        ):
            in_other = any(label.endswith(f".{name}") for label in labels)
            assert f"{kind.name}.{name}" in labels or in_other


TEXTS = st.text(alphabet="Ab ", max_size=4)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), st.booleans(), st.booleans(), st.booleans())
def test_parametrize_gives_the_values_that_pytest_gives(pairs, with_param: bool, as_tuple: bool, swapped: bool):
    """Held against pytest's own reading of the same decorator."""
    values = [f"pytest.param({a!r}, {b!r})" if with_param and n % 2 else repr((a, b)) for n, (a, b) in enumerate(pairs)]
    names = ("b", "a") if swapped else ("a", "b")
    module = (
        f"import pytest\nSEEN = []\n@pytest.mark.parametrize({names if as_tuple else ', '.join(names)!r}, [{', '.join(values)}])\n"
        "def test_a(a, b):\n    SEEN.append((a, b))\n"
    )
    namespace: dict = {"independent_test": contextlib.nullcontext}
    suite = Suite(module)
    exec(suite.source(lambda _: ""), namespace)
    namespace["check"](None)
    own: dict = {}
    exec(module, own)
    [mark] = own["test_a"].pytestmark
    wanted = [dict(zip(names, getattr(value, "values", value), strict=True)) for value in mark.args[1]]
    assert namespace["SEEN"] == [(value["a"], value["b"]) for value in wanted]
