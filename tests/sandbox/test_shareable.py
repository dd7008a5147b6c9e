"""Checks share a grader only if their text shows that they can touch nothing but their own."""

from __future__ import annotations

import pytest

from mlx_selfdebug.sandbox.grading.shareable import are_shareable
from tests.sandbox.humaneval import problems


def body(text: str) -> str:
    return f"def check(candidate):\n    {text}\n"


@pytest.mark.parametrize(
    "text",
    [
        "assert candidate(3) == 9",
        "import math; assert math.isclose(candidate(3), 9)",
        "from collections import Counter; assert Counter(candidate(3)) == Counter()",
        "x = [1]; x[0] = 2; x.append(3); assert candidate(x) == x.copy()",
        "assert type(candidate(3)) == int and isinstance(candidate(3), int)",
        "import random; random.seed(1); assert candidate(random.random())",
    ],
)
def test_plain_checks_keep_to_themselves(text: str) -> None:
    assert are_shareable(body(text), "import math\ndef helper(x): return math.sqrt(x)")


@pytest.mark.parametrize(
    "text",
    [
        "import sys; assert sys.modules",
        "import math; math.pi = 3",
        "import math as m; del m.pi",
        "import random; random._os.environ.clear()",
        "import re; re.enum.sys.modules.clear()",
        "from re import enum; assert enum",
        "from math import *; assert pi",
        "from . import x",
        "().__class__.__base__.__subclasses__()",
        "setattr(candidate, 'x', 1)",
        "getattr(candidate, '_' + '_class_' + '_')",
        "eval('1')",
        "exec('x = 1')",
        "open('f')",
        "globals().clear()",
        "__builtins__['len'] = None",
        "__import__('os')",
        "import collections; collections.Counter.update = None",
        "import collections.abc",
        "import decimal; decimal.getcontext().prec = 1",
        "for candidate.x in [1]: pass",
        "with candidate as candidate.x: pass",
    ],
)
def test_checks_that_could_reach_further_get_a_grader_of_their_own(text: str) -> None:
    assert not are_shareable(body(text), "")


def test_what_the_setup_does_counts_as_well() -> None:
    assert not are_shareable(body("assert candidate(3) == 9"), "import os")


def test_nearly_all_checks_of_humaneval_share_a_grader() -> None:
    found = [are_shareable(problem.checks.source, problem.checks.setup) for problem in problems()]
    assert sum(found) >= 160
