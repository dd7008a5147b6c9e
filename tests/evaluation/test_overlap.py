from __future__ import annotations

import doctest
from dataclasses import replace

import pytest

from mlx_selfdebug.evaluation import overlap
from mlx_selfdebug.evaluation.overlap import Overlap, nearest_pair, nearest_pairs
from mlx_selfdebug.tasks import Task, load_tasks

SOURCE = '''\
def running_maximum(numbers):
    """Say it again."""
    result = []
    best = None
    for n in numbers:
        if best is None or n > best:
            best = n
        result.append(best)
    return result
'''
TASK = Task(
    "train/a",
    "python",
    "Given a list of integers, return the list of the rolling maximum found until each moment.",
    "running_maximum",
    reference=SOURCE,
)
RENAMED = (
    SOURCE.replace("numbers", "xs").replace("result", "out").replace("best", "top").replace("running_maximum", "f")
)
REORDERED = SOURCE.replace("    result = []\n    best = None\n", "    best = None\n    result = []\n")
OTHER = Task("test/b", "python", "Count the vowels of a text, in upper or lower case alike, and return it.", "vowels",
             reference="def vowels(text):\n    return sum(c in 'aeiou' for c in text.lower())\n")  # fmt: skip


def pair(**changes: str) -> Overlap:
    found = nearest_pair([TASK], [replace(TASK, id="test/b", **changes)])
    assert found is not None
    return found


def test_the_same_task_is_as_near_as_can_be() -> None:
    assert pair() == Overlap("train/a", "test/b", 1.0, 1.0, 1.0)


def test_other_names_change_the_text_and_not_the_code() -> None:
    renamed = pair(statement="Another request, in words that are all its own, for the same.", reference=RENAMED)
    assert renamed.code == 1.0
    assert renamed.containment < 0.3


def test_statements_in_another_order_change_little() -> None:
    reordered = pair(reference=REORDERED)
    assert 0.7 < reordered.code < 1.0
    assert 0.7 < reordered.containment < 1.0


def test_layout_comments_and_docstrings_do_not_change_the_code() -> None:
    laid_out = SOURCE.replace("    ", "  ").replace('  """Say it again."""\n', "  # nothing\n")
    assert pair(reference=laid_out).code == 1.0


def test_types_do_not_change_the_code() -> None:
    typed = SOURCE.replace("(numbers)", "(numbers: list[int]) -> list[int]")
    assert pair(reference=typed).code == 1.0


@pytest.mark.parametrize(("old", "new"), [("n > best", "n < best"), ("append", "extend"), ("is None", "== 0")])
def test_what_a_program_does_is_part_of_its_code(old: str, new: str) -> None:
    assert pair(reference=SOURCE.replace(old, new)).code < 0.9


def test_a_statement_said_again_is_contained_though_the_code_is_another() -> None:
    said = pair(reference=OTHER.reference)
    assert said.code < 0.2
    assert 0.2 < said.containment < 1


def test_containment_is_of_the_smaller_one() -> None:
    longer = TASK.statement + " " + " ".join(f"word{i}" for i in range(100))
    assert pair(statement=longer).containment == 1.0
    assert pair(statement=longer).jaccard < 0.5


def test_unrelated_tasks_share_nothing() -> None:
    assert nearest_pair([TASK], [OTHER]) == Overlap("train/a", "test/b", 0.0, 0.0, 0.0)
    assert nearest_pairs([TASK], [OTHER]) == []


def test_without_references_the_statements_decide() -> None:
    bare = replace(TASK, reference="")
    assert nearest_pair([bare], [bare]) == Overlap("train/a", "train/a", 1.0, 1.0, 0.0)


@pytest.mark.parametrize("changes", [{"statement": "", "reference": ""}, {"statement": "Do.", "reference": "def f(:"}])
def test_a_task_that_says_nothing_is_near_none(changes: dict[str, str]) -> None:
    assert pair(**changes).nearness == 0


def test_pairs_come_nearest_first_and_only_from_the_threshold_on() -> None:
    tests = [replace(TASK, id="c", reference=REORDERED), OTHER, replace(TASK, id="d")]
    found = nearest_pairs([TASK], tests, above=0.5)
    assert [pair.test_id for pair in found] == ["d", "c"]
    assert [pair.test_id for pair in nearest_pairs([TASK], tests, above=1.0)] == ["d"]
    assert len(nearest_pairs([TASK], tests, above=0.0)) == 3


def test_no_tasks_have_no_pairs() -> None:
    assert nearest_pairs([], [TASK]) == []
    assert nearest_pair([TASK], []) is None


def test_the_starter_set_is_far_from_humaneval() -> None:
    assert nearest_pairs(load_tasks("starter"), load_tasks("humaneval"), above=0.3) == []


def test_the_twins_within_humaneval_are_found() -> None:
    tasks = load_tasks("humaneval")
    found = {(p.train_id, p.test_id) for p in nearest_pairs(tasks, tasks) if p.train_id != p.test_id}
    assert ("HumanEval/56", "HumanEval/61") in found


def test_the_example_of_the_module_runs() -> None:
    assert doctest.testmod(overlap).failed == 0
