"""Every domain keeps the promises that the loop builds on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlx_selfdebug import domains
from mlx_selfdebug.domains import domain_of, packages_of
from mlx_selfdebug.errors import UnknownNameError, UsageError
from mlx_selfdebug.tasks import Checks, Task
from mlx_selfdebug.testing import make_attempt

CHECKS = Checks.from_asserts(["assert f(1) == 2"])
NAMES = ["python", "sql", "duckdb", "math", "reasoning", "pandas", "polars", "regex", "jq"]


def task(name: str) -> Task:
    return Task("t", name, "Do it.", "f", "def f(x):", public=CHECKS, hidden=CHECKS, data="{}")


@pytest.mark.parametrize("name", NAMES)
def test_a_repairs_message_begins_with_the_drafts(name):
    domain = domain_of(name)
    assert domain.repair_prompt(task(name), make_attempt(code="x\n")).startswith(domain.prompt(task(name)))


@pytest.mark.parametrize("name", NAMES)
def test_what_training_has_the_model_say_is_read_back(name):
    domain = domain_of(name)
    code = "def f(x):\n    return x\n" if name in ("python", "pandas", "polars") else "a b\n"
    said = domain.completion(code).removesuffix(domain.stop_text)
    assert domain.extract(said, task(name)).code == code


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", "```", "\x00", "```python\n```", "é" * 50, "<|im_end|>", "'", "(((", "\\boxed{"])
def test_no_reply_makes_extracting_fail(name, text):
    assert domain_of(name).extract(text, task(name)).code.endswith("\n")
    domain_of(name).normalise(text)
    domain_of(name).tokens(text)


def test_an_unknown_domain_is_named_with_those_there_are():
    with pytest.raises(UnknownNameError, match="sqll"):
        domain_of("sqll")


def test_a_package_that_is_not_installed_is_named_with_the_command_that_gets_it(monkeypatch):
    lacking = type("Lacking", (type(domain_of("jq")),), {"packages": ("no_such_package",)})()
    monkeypatch.setitem(domains._DOMAINS, "jq", lacking)
    with pytest.raises(UsageError) as caught:
        packages_of(["jq"])
    assert "no_such_package" in str(caught.value)
    assert "mlx-selfdebug[tables]" in str(caught.value.hint)


def test_a_python_tasks_data_is_the_module_around_it(judge):
    around = replace(task("python"), data="ADDED = 1\n")
    assert judge(around, "def f(x):\n    return x + ADDED\n").passed
