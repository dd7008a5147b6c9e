"""Prepare attempts and pairs as items of a page: a title, what the tests reported, and the changes from one program to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_selfdebug.evaluation.evidence import Regression
from mlx_selfdebug.reporting.report.diff import DiffLine, diff_lines
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.feedback import MAX_FACTS
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.verdict import Failure


@dataclass(frozen=True)
class Item:
    """A pair, a regression or a repair as a page shows it, in a form that can be unfolded."""

    title: str
    kind: str
    task_id: str
    prompt: str
    before: str
    """The code before: the failed code of a pair or a repair, or the right code of a regression; "" if there is none."""
    facts: tuple[Failure, ...]
    """What the tests reported of the wrong code."""
    diff: tuple[DiffLine, ...]
    """The changes from ``before`` to ``after``; empty if there is nothing before."""
    after: str
    """The code after."""

    @property
    def n_bytes(self) -> int:
        """A rough estimate of the bytes that the item takes in the page."""
        # Rough allowances: 900 bytes for the frame, 60 for the tags around each part of a line, 400 for each row of facts. The
        # code after counts twice, because the diff shows it as well.
        marks = 60 * sum(len(line.parts) for line in self.diff)
        return 900 + marks + len(self.prompt) + len(self.before) + 2 * len(self.after) + 400 * len(self.facts)


def pair_item(pair: Pair, attempts: Mapping[str, Attempt], number: int) -> Item:
    """Return a pair as an item.

    ``attempts`` holds, by id, the attempts that the pairs of the run were made from. ``number`` is the pair's place, from 1.
    """
    made_from = [attempts[id_] for id_ in pair.attempts if id_ in attempts]
    failed = made_from[0] if pair.kind == "repair" and made_from else None
    right = made_from[-1].code if made_from else pair.target
    return Item(
        title=f"{number}. {pair.kind}: {pair.task_id}",
        kind=pair.kind,
        task_id=pair.task_id,
        prompt=pair.prompt,
        before=failed.code if failed else "",
        facts=_facts(failed) if failed else (),
        diff=tuple(diff_lines(failed.code, right)) if failed else (),
        after=right,
    )


def regression_item(regression: Regression) -> Item:
    """Return a regression as an item, with the changes from the right answer to the wrong one."""
    before, after = regression.before, regression.after
    return Item(
        title=f"{regression.task_id}: {regression.kind}",
        kind=regression.kind,
        task_id=regression.task_id,
        prompt=before.prompt,
        before=before.code,
        facts=after.verdict.failures[:MAX_FACTS],
        diff=tuple(diff_lines(before.code, after.code)),
        after=after.code,
    )


def repair_item(failed: Attempt, repair: Attempt) -> Item:
    """Return an attempt that was made from a failed one as an item, with the facts of the failed one."""
    outcome = repair.verdict.outcome.replace("_", " ")
    return Item(
        title=f"{repair.kind}, {outcome}: {repair.task_id} ({repair.arm}, sample {repair.sample}, round {repair.round})",
        kind=repair.kind,
        task_id=repair.task_id,
        prompt=repair.prompt,
        before=failed.code,
        facts=_facts(failed),
        diff=tuple(diff_lines(failed.code, repair.code)),
        after=repair.code,
    )


def _facts(failed: Attempt) -> tuple[Failure, ...]:
    """Return what the public checks reported of a failed attempt or, if they passed, what the hidden checks reported."""
    return (failed.public.failures or failed.verdict.failures)[:MAX_FACTS]
