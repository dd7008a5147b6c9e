"""Runs with everything a report shows, written through the real store: made-up attempts, as many as are asked for."""

from __future__ import annotations

import random
from dataclasses import asdict, replace
from itertools import cycle
from pathlib import Path
from typing import Any

from mlx_selfdebug.evaluation.arms import FIRST, REPAIR, Arm, arms_named
from mlx_selfdebug.evaluation.figures import TaskFigures
from mlx_selfdebug.evaluation.played import (
    BUGS,
    BUGS_PREFIX,
    HELD_BACK_PREFIX,
    remember_model,
)
from mlx_selfdebug.store import Run
from mlx_selfdebug.store.facts import Key
from mlx_selfdebug.values.attempt import Attempt, attempt_id
from mlx_selfdebug.values.pair import Pair
from mlx_selfdebug.values.step import Step
from mlx_selfdebug.values.verdict import ErrorFact, Failure, Verdict

from ..support.values import small_config

HOSTILE = "</script><script>document.title='forged'</script><!-- <img src=x onerror=alert(1)> \u2028 &amp; é"
ARMS = "blind,notice,code,facts,other-facts,edits+forks+blind"
OPERATORS = ("constant", "comparison", "return")
RIGHT = Verdict("passed", n_passed=6, n_checks=6, wall_s=0.01, isolation="full")
PROMPT = (
    "Write a Python function. Return the number of vowels in a word.\n\n```python\ndef vowels(word: str) -> int:\n```"
)


def code(value: int) -> str:
    return (
        f"def vowels(word: str) -> int:\n    total = {value}\n    for letter in word:\n"
        "        if letter in 'aeiou':\n            total += 1\n    return total\n"
    )


def wrong(rng: random.Random) -> Verdict:
    """One of several ways to fail."""
    error = ErrorFact("TypeError", "unsupported operand type(s) for +: 'int' and 'str'", 4, "total += letter")
    return rng.choice(
        [
            Verdict("failed", (Failure("public[0]", "'audio'", "4", "value", "3"),), 3, 6),
            Verdict("failed", (Failure("public[1]", f"'{HOSTILE}'", "1", "value", "2"),), 5, 6),
            Verdict("raised", (Failure("public[0]", "'b'", "0", "value", "", error),), 0, 6),
            Verdict("timeout_wall", (), 0, 6),
        ]
    )


def attempt(rng: random.Random, arm: str, task: str, sample: int, round_: int, right: bool, **more: Any) -> Attempt:
    verdict = RIGHT if right else wrong(rng)
    values: dict[str, Any] = {
        "public": verdict if rng.random() < 0.9 else RIGHT,
        "verdict": verdict,
        "code": code(0 if right else rng.randint(1, 10**6)),
        "parent": "",
        **more,
    }
    return Attempt(
        task_id=task, arm=arm, sample=sample, round=round_, prompt=PROMPT, completion=values["code"] + "```",
        n_prompt_tokens=90, n_completion_tokens=rng.randint(40, 90), seed=rng.getrandbits(60), finish="fence", **values,
    )  # fmt: skip


def make_run(
    path: Path,
    *,
    tasks: int = 40,
    learned: float = 0.2,
    retries: int = 4,
    pairs: int = 30,
    others: tuple[str, ...] = (),
    bugs: int = 12,
    hard: bool = True,
) -> Run:
    """A run that was collected, trained and evaluated; it is open. ``learned``: what the adapter is better by. Without ``bugs`` and
    ``hard`` it is as one of before there were any.
    """
    run = Run(path, small_config(eval__arms=ARMS, eval__tokens=400))
    rng = random.Random(tasks)
    collect(run, rng, pairs)
    for step in range(24):
        run.add_step(Step(step, 1.2 * 0.93**step, 500, 1e-4, 0.8, 14.0))
    for i, repaired in enumerate((3, 5)):
        run.remember(f"train.validations.abc.{i}", {"step": 12 * (i + 1), "repaired": repaired, "attempts": 9})
    names = [f"Test/{i}" for i in range(tasks)]
    figures = {id_: asdict(TaskFigures("python", 6, 20 + i % 60)) for i, id_ in enumerate(names)}
    run.remember(Key.FIGURES, figures)
    run.remember(Key.GATE_FIGURES, {"train/0": asdict(TaskFigures("python", 6, 20))})
    hardness = {id_: rng.random() for id_ in names}
    if hard:
        run.remember(Key.PASS_RATES, {id_: float(value < 0.8) for id_, value in hardness.items()})
    if bugs:
        put_in_bugs(run, rng, names[:bugs], Key.BUGS, Key.BUG_FIGURES, "")
        put_in_readings(run, names[0])
        put_in_bugs(run, rng, ["train/0"], Key.GATE_BUGS, Key.GATE_BUG_FIGURES, HELD_BACK_PREFIX)
    for model in ("base", "adapter", *others):
        if model != "base":
            remember_model(run, model, "0" * 64)
        play(run, rng, model, names, hardness, 0.0 if model == "base" else learned, retries)
        repair_bugs(run, rng, f"{BUGS_PREFIX}{model}", 0.0 if model == "base" else learned, retries)
        if model in ("base", "adapter"):
            repair_bugs(run, rng, f"{HELD_BACK_PREFIX}{BUGS_PREFIX}{model}", 0.0, 1, only=REPAIR)
            play(run, rng, f"{HELD_BACK_PREFIX}{model}", ["train/0"], {"train/0": 0.5}, 0.0, 1, only=REPAIR)
    surroundings(run)
    return run


def collect(run: Run, rng: random.Random, n_pairs: int) -> None:
    made = []
    for i in range(max(1, n_pairs)):
        bad = attempt(rng, "collect", f"train/{i}", 0, 0, False)
        good = attempt(rng, "collect", f"train/{i}", 1, 0, True)
        run.add_attempt(bad)
        run.add_attempt(good)
        kind = ("repair", "direct", "keep")[i % 3] if i else "repair"
        used = (bad.id, good.id) if kind == "repair" else (good.id,)
        made.append(Pair(kind, "python", bad.task_id, PROMPT + HOSTILE, good.code, used))  # type: ignore[arg-type]
    run.replace_pairs(made[:n_pairs])


def play(
    run: Run, rng: random.Random, model: str, tasks: list[str], hardness: dict[str, float], learned: float, retries: int,
    only: str = ARMS,
) -> None:  # fmt: skip
    for task in tasks:
        draft = attempt(rng, f"{model}/{FIRST}", task, 0, 0, hardness[task] < 0.5)
        run.add_attempt(draft)
        for arm in arms_named(only):
            follow_up(run, rng, arm, model, draft, learned, retries)


def put_in_bugs(run: Run, rng: random.Random, tasks: list[str], key: str, figures: str, prefix: str) -> None:
    made = [(f"{task}#{operator}-1", task, operator) for task, operator in zip(tasks, cycle(OPERATORS), strict=False)]
    for id_, _, _ in made:
        given = attempt(rng, f"{prefix}{BUGS_PREFIX}given", id_, 0, 0, False, public=wrong(rng), kind="given")
        run.add_attempt(replace(given, n_completion_tokens=0, n_prompt_tokens=0, prompt="", finish="given"))
    run.remember(key, {"units": [{"id": id_, "task": task, "operator": operator} for id_, task, operator in made]})
    run.remember(figures, {id_: asdict(TaskFigures("python", 6, 20 + i)) for i, (id_, _, _) in enumerate(made)})


def put_in_readings(run: Run, task: str) -> None:
    """One program as it was read, with something hostile in it, and as hostile things that the model would rather have."""
    head, tail = "def vowels(word: str) -> int:\n    total =", "\n    return total  # ``` "
    shades = [[head, 0.0, []], [" 7", 6.25, [" 0", f" {HOSTILE}"]], [tail, 1.5, ["\n"]], [HOSTILE, 0.25, [" "]]]
    edited = f"{head} 0{tail}{HOSTILE}"
    run.remember(Key.READINGS, [{"task_id": f"{task}#constant-1", "half": BUGS, "shades": shades, "edited": edited}])


def repair_bugs(run: Run, rng: random.Random, model: str, learned: float, retries: int, only: str = ARMS) -> None:
    for given in run.attempts(f"{model.rpartition('/')[0]}/given"):
        for arm in arms_named(only):
            follow_up(run, rng, arm, model, given, learned, retries)


def follow_up(
    run: Run, rng: random.Random, arm: Arm, model: str, begun: Attempt, learned: float, retries: int
) -> None:  # fmt: skip
    """What an arm makes of a failed program: an edit and a fork where it searches, then drafts or repairs."""
    before = begun
    searched = [("edits", 1), ("fork", 2)] if arm.edits else []
    for kind, round_ in searched:
        if before.public.passed:
            return
        right = rng.random() < 0.3
        found: dict[str, Any] = {"kind": kind, "parent": begun.id, "public": RIGHT if right else begun.public}
        found |= {"code": begun.code} if not right else {}
        made = attempt(rng, f"{model}/{arm.name}", begun.task_id, 0, round_, right, **found)
        made = replace(made, n_read_tokens=60, n_tries=7 if kind == "edits" else 0)
        if kind == "edits":
            made = replace(made, n_completion_tokens=0, finish="edited" if right else "exhausted")
        run.add_attempt(before := made)
    for i in range(retries):
        if before.public.passed:
            return
        sample, round_ = (i + 1, 0) if arm.then == "drafts" else (0, i + 1)
        right = rng.random() < 0.12 + (learned if arm.name == REPAIR else 0.0)
        parent = "" if arm.then == "drafts" else before.id
        same = {"code": before.code} if not right and rng.random() < 0.5 else {}
        made = attempt(rng, f"{model}/{arm.name}", begun.task_id, sample, round_, right, parent=parent, **same)
        run.add_attempt(before := replace(made, kind="draft" if arm.then == "drafts" else "repair"))


def surroundings(run: Run) -> None:
    run.remember("model", "gguf:0123")
    run.remember("isolation", "full")
    run.remember("sandbox", {"layers": ["namespaces", "landlock"], "probes": {"network": True}})
    near = {"train_id": "train/0", "test_id": "Test/0", "jaccard": 0.2, "containment": 0.31, "code": 0.12}
    run.remember("eval.overlap", [near])
    run.remember("collect.audit", {"left_out": {"train/weak": "its checks caught 3 of 9 mutants"}})
    for name, peak in (("collect", 4.1e9), ("train", 5.4e9), ("evaluate", 4.8e9)):
        memory = [(float(i), int(peak * min(1.0, 0.3 + i / 80))) for i in range(200)]
        parts = {"decoding": 120.0, "prompts": 31.0, "waiting for tests": 9.0}
        run.add_stage_time(name, 200.0, int(peak), done=True, parts=parts, memory=memory)


def parent_of(arm: str, task: str) -> str:
    return attempt_id(arm, task, 0, 0)
