"""Contrasts of both halves are corrected together, and a verdict is given after correction."""

from __future__ import annotations

import copy
import json

import pytest

from mlx_selfdebug.evaluation.arms import ArmKey
from mlx_selfdebug.evaluation.contrasts import Contrast, Solved, contrasts, declared
from mlx_selfdebug.evaluation.searching import Searching, searching_in
from mlx_selfdebug.evaluation.statistics import Interval, holm

MODELS = ["base", "adapter"]


def ids(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def half(name: str, search: int, blind: int) -> Solved:
    return Solved(
        name, {ArmKey("base", "edits+forks+blind"): ids(search), ArmKey("base", "blind"): ids(blind)}, 60, ["base"]
    )


def test_both_halves_are_corrected_for_the_number_of_all_contrasts() -> None:
    found = contrasts([half("own failures", 12, 6), half("bugs", 40, 20)])
    assert [(c.half, c.won, c.lost) for c in found] == [("own failures", 6, 0), ("bugs", 20, 0)]
    assert [c.p_holm for c in found] == holm([c.p for c in found])


def test_of_bugs_no_first_drafts_are_compared() -> None:
    assert any(one.left == "adapter/first" for one in declared(MODELS))
    assert not any("first" in one.left for one in declared(MODELS, "bugs"))


SENTENCES = {
    "shown": "There is evidence that searching the failed code before resampling is better than resampling at once",
    "not shown": "There is no evidence that searching the failed code before resampling is better than resampling at once",
    "shown worse": "There is evidence that searching the failed code before resampling is worse than resampling at once",
}


@pytest.mark.parametrize(
    ("won", "lost", "p_holm", "verdict"),
    [(9, 0, 0.004, "shown"), (9, 0, 0.06, "not shown"), (0, 9, 0.004, "shown worse"), (0, 0, 1.0, "not shown")],
)
def test_a_difference_is_shown_after_correction_or_not_at_all(won: int, lost: int, p_holm: float, verdict: str) -> None:
    contrast = Contrast(
        "bugs", "base/edits+forks+blind", "base/blind", "?", won, lost, 30, 0.004, p_holm, Interval(0, 0.3)
    )
    assert contrast.verdict == verdict
    assert str(Searching("base", 12, 3, contrast)).startswith(f"{SENTENCES[verdict]} for base: it solves 12 of 30 ")


def test_searching_is_judged_by_one_contrast_a_model_and_half() -> None:
    halves = [half("own failures", 12, 6), half("bugs", 40, 20)]
    solved = {name: len(found) for name, found in halves[1].by_arm.items()}
    [one] = searching_in(tuple(contrasts(halves)), "bugs", solved)
    assert (one.model, one.solved, one.blind, one.verdict) == ("base", 40, 20, "shown")


def test_the_key_of_an_arm_is_its_name_and_knows_its_parts() -> None:
    key = ArmKey("held back/bugs/base", "facts")
    assert (key, key.model, key.arm) == ("held back/bugs/base/facts", "held back/bugs/base", "facts")
    assert json.loads(json.dumps({key: copy.deepcopy(key)})) == {key: key}
    assert copy.deepcopy(key).arm == "facts"
