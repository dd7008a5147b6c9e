"""Searches and forks in the stream: what becomes of a failed program, what is stored of it, and that it is not done twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.progress import NullStage
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.policies import EXHAUSTED, MiningPolicy, Move, Policy, Search
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sampling.reading import Reading, indifferent_reading
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.testing import ScriptedDecoder, ScriptedModel, make_attempt, make_task
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task

from ..proving.test_rocq import needs_rocq
from ..support.values import FAILED

TASK = make_task("square", "x * x", public=(3, 4), hidden=(5, -2))
WRONG, RIGHT = "def square(x):\n    return x + x\n", "def square(x):\n    return x * x\n"
HOPELESS = "def square(x):\n    return None\n"


@pytest.fixture(scope="module")
def runner() -> Any:
    with TestRunner(2, Limits(wall_s=5, cpu_s=4)) as opened:
        yield opened


def given(code: str, task: Task = TASK) -> Attempt:
    return make_attempt(
        task_id=task.id, arm="given", kind="given", code=code, completion=code, verdict=FAILED, n_completion_tokens=0
    )


def model(reply: str = HOPELESS) -> ScriptedModel:
    return ScriptedModel(lambda prompt, seed: reply)


def play(
    run: Run,
    model: Any,
    runner: TestRunner,
    policy: Policy,
    begun: Sequence[Attempt] = (),
    task: Task = TASK,
    max_tokens: int = 64,
) -> list[Attempt]:
    decoding = Decoding(0.8, 0.05, max_tokens, 8, 6 * 10**9)
    made = Stream(run, model, runner, NullStage()).play(Play("arm", [task], policy, decoding, {task.id: begun}))["arm"]
    return [attempt for attempt in made if attempt.kind != "given"]


EDITS = Search(edits=True, forks=0, then="nothing")
FORKS = Search(edits=False, lines=0, forks=2, then="nothing")


def test_a_small_bug_is_mended_without_a_decoded_token(run: Run, runner: TestRunner) -> None:
    (found,) = play(run, model(), runner, EDITS, [given(WRONG)])
    assert (found.code, found.kind, found.finish, found.parent) == (RIGHT, "edits", "edited", given(WRONG).id)
    assert found.passed
    assert found.public.passed
    assert found.n_completion_tokens == 0
    assert found.n_tries > 0
    assert found.n_read_tokens == len(WRONG.strip()) + len("\n```")


def test_a_search_that_finds_nothing_hands_on_the_failed_program_as_it_was(run: Run, runner: TestRunner) -> None:
    task = replace(TASK, public=Checks.from_asserts(["assert square(3) == 'never'"]))
    (found,) = play(run, model(), runner, EDITS, [given(HOPELESS)], task)
    assert (found.code, found.finish, found.verdict, found.public) == (HOPELESS, EXHAUSTED, FAILED, FAILED)


def test_edits_come_first_then_drafts(run: Run, runner: TestRunner) -> None:
    task = replace(TASK, public=Checks.from_asserts(["assert square(7) == 'never'"]))
    found = play(run, model(), runner, Search(forks=0, max_followups=2), [given(HOPELESS)], task)
    assert [attempt.kind for attempt in found] == ["edits", "draft", "draft"]


def test_a_finished_search_is_not_made_again(run: Run, runner: TestRunner) -> None:
    first = play(run, model(), runner, EDITS, [given(WRONG)])
    again = model()
    again.decoder = None  # type: ignore[method-assign, assignment]
    assert play(run, again, runner, EDITS, [given(WRONG)]) == first


def test_two_searches_of_the_same_program_find_the_same(run: Run, runner: TestRunner, tmp_path: Any) -> None:
    with Run(tmp_path / "other") as other:
        both = [play(one, model(), runner, EDITS, [given(WRONG)])[0] for one in (run, other)]
    assert (both[0].code, both[0].n_tries) == (both[1].code, both[1].n_tries)


def test_a_task_without_public_checks_is_not_searched_but_drafted(run: Run, runner: TestRunner) -> None:
    found = play(run, model(), runner, Search(max_followups=1), [given(WRONG)], replace(TASK, public=Checks()))
    assert [attempt.kind for attempt in found] == ["draft"]


@pytest.mark.parametrize("policy", [EDITS, FORKS])
def test_an_empty_program_is_said_and_the_task_goes_on(
    run: Run, runner: TestRunner, policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    found = play(run, model(), runner, policy, [given("\n")])
    assert [attempt.finish for attempt in found] == [EXHAUSTED]
    assert "an empty program cannot be read" in caplog.text


def test_a_program_too_long_for_the_context_is_said_and_the_task_goes_on(
    run: Run, runner: TestRunner, tiny: Any, caplog: pytest.LogCaptureFixture
) -> None:
    found = play(run, tiny, runner, EDITS, [given("x = 1\n" * 800)], max_tokens=8)
    assert [attempt.finish for attempt in found] == [EXHAUSTED]
    assert "exceed the context" in caplog.text
    assert len(caplog.records) == 1


def test_a_program_that_does_not_parse_is_mended_by_a_token(run: Run, runner: TestRunner) -> None:
    broken = WRONG.replace("+", "*").replace("(x)", "(x") + ""
    (found,) = play(run, Opinionated({broken.index(":"): "):"}), runner, EDITS, [given(broken)])
    assert (found.code, found.passed) == (RIGHT, True)


def test_in_a_domain_without_operators_tokens_are_edited(run: Run, runner: TestRunner) -> None:
    task = next(task for task in load_tasks("regex") if task.public and "\\d" in task.reference)
    at = task.reference.index("\\d") + 1
    wrong = task.reference[:at] + "D" + task.reference[at + 1 :]
    (found,) = play(run, Opinionated({at: "d"}), runner, EDITS, [given(wrong, task)], task)
    assert (found.finish, found.public.passed) == ("edited", True)


@needs_rocq
def test_a_token_of_a_proof_is_edited(run: Run, runner: TestRunner) -> None:
    task = load_tasks("proofs").by_id["proofs/negb_twice"]
    wrong = "  intros b.\n  destruct c; reflexivity.\nQed.\n"
    at = wrong.index("c; ")
    (found,) = play(run, Opinionated({at: "b"}), runner, EDITS, [given(wrong, task)], task)
    assert (found.finish, found.passed, found.code) == ("edited", True, task.reference)


def test_a_fork_leaves_the_program_where_the_model_would_rather_have_another_token(
    run: Run, runner: TestRunner
) -> None:
    opinion = Opinionated({WRONG.index("+"): "*"}, reply=" x\n```")
    (found,) = play(run, opinion, runner, FORKS, [given(WRONG)])
    assert (found.kind, found.code, found.passed) == ("fork", RIGHT, True)
    assert found.n_completion_tokens == len(" x\n```") + 1
    assert found.n_read_tokens > 0


def test_a_fork_of_a_line_keeps_what_stands_around_the_line(run: Run, runner: TestRunner) -> None:
    wrong = "def square(x):\n    y = x + 1\n    return y\n"
    opinion = Opinionated({wrong.index("+"): "*"}, reply=" x\n    return 0\n```")
    policy = Search(edits=False, lines=1, forks=1, then="nothing")
    (found,) = play(run, opinion, runner, policy, [given(wrong)])
    assert (found.kind, found.finish) == ("fork", "line")
    assert (found.code, found.passed) == ("def square(x):\n    y = x * x\n    return y\n", True)
    assert found.n_completion_tokens == len(" x\n") + 1


class Inserting:
    """A policy that has one statement inserted into the failed program that it begins with."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
        return [Move(0, 2, attempts[0], by="insert")] if len(attempts) == 1 else []


def test_an_inserted_statement_is_written_into_the_program_that_was_read(run: Run, runner: TestRunner) -> None:
    wrong = "def square(x):\n    y = x\n    return y\n"
    opinion = Opinionated({wrong.index("return"): "y"}, reply=" = x * x\n    return 0\n```")
    (found,) = play(run, opinion, runner, Inserting(), [given(wrong)])
    assert (found.kind, found.finish, found.passed) == ("fork", "line", True)
    assert found.code == "def square(x):\n    y = x\n    y = x * x\n    return y\n"


def test_mining_edits_the_failed_drafts_and_goes_by_the_hidden_checks(run: Run, runner: TestRunner) -> None:
    task = replace(TASK, public=Checks())
    found = play(run, model(WRONG), runner, MiningPolicy(3, 1, 1, edits=2, forks=1), task=task)
    assert [attempt.kind for attempt in found] == ["draft", "edits", "draft", "draft"]
    assert found[1].code == RIGHT


def test_mining_forks_and_then_asks_where_no_edit_was_found(run: Run, runner: TestRunner) -> None:
    task = replace(TASK, hidden=Checks.from_asserts(["assert square(7) == 'never'"]))
    found = play(run, model(HOPELESS), runner, MiningPolicy(1, 2, 1, edits=1, forks=2), task=task)
    assert [(attempt.kind, attempt.round) for attempt in found] == [
        ("draft", 0), ("edits", 1), ("fork", 2), ("fork", 3), ("repair", 4), ("repair", 5)
    ]  # fmt: skip


class Opinionated(ScriptedModel):
    """Would rather have other characters at some places of every program that it reads."""

    def __init__(self, rather: dict[int, str], reply: str = HOPELESS) -> None:
        super().__init__(lambda prompt, seed: reply)
        self.rather = rather

    def spell(self, id_: int) -> str:
        return self.rather[-id_] if id_ < 0 else chr(id_)

    def decoder(self, *, max_rows: int, **_: Any) -> ScriptedDecoder:
        opened = _Opinionated(self, max_rows)
        opened.rather = self.rather
        return opened


class _Opinionated(ScriptedDecoder):
    rather: dict[int, str]

    def read(self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = ()) -> Reading:
        reading = indifferent_reading(program, len(prompt), -9.0)
        others, likelihood = reading.others.copy(), reading.others_log_likelihood.copy()
        for place, text in self.rather.items():
            others[place, 0] = ord(text) if len(text) == 1 else -place
            likelihood[place, 0] = np.float32(-0.1)
        return replace(reading, others=others, others_log_likelihood=likelihood)


def test_a_program_is_counted_as_read_once_whatever_is_made_of_it(run: Run, runner: TestRunner) -> None:
    task = replace(TASK, public=Checks.from_asserts(["assert square(7) == 'never'"]))
    found = play(run, model(HOPELESS), runner, Search(lines=1, forks=1, then="nothing"), [given(HOPELESS)], task)
    assert [(attempt.kind, attempt.n_read_tokens > 0) for attempt in found] == [
        ("edits", True), ("fork", False), ("fork", False)
    ]  # fmt: skip


def test_a_model_that_gives_no_numbers_is_an_error_and_no_exhausted_search(
    run: Run, runner: TestRunner, tiny: Any
) -> None:
    from mlx_selfdebug.models.backend import mx

    norm = tiny.network.model.norm
    norm.weight = mx.full(norm.weight.shape, float("nan"))
    with pytest.raises(ModelError, match="not numbers"):
        play(run, tiny, runner, EDITS, [given(WRONG)], max_tokens=8)


def test_what_several_searches_lead_to_is_decoded_together_where_a_step_takes_as_long_for_one_row(
    run: Run, runner: TestRunner
) -> None:
    steps: list[int] = []

    class Decoder(ScriptedDecoder):
        def step(self) -> list[Any]:
            steps.append(self.waiting)
            return super().step()

    class Model(ScriptedModel):
        def decoder(self, *, max_rows: int, **_: Any) -> ScriptedDecoder:  # type: ignore[override]
            decoder = Decoder(self, max_rows)
            decoder.shares_cores, decoder.min_rows = True, 3
            return decoder

    tasks = [
        replace(TASK, id=f"test/{i}", public=Checks.from_asserts([f"assert square({i}) == 'never'"])) for i in range(4)
    ]
    begun = {task.id: [given(HOPELESS, task)] for task in tasks}
    policy = Search(edits=True, lines=0, forks=1, then="nothing")
    play = Play("arm", tasks, policy, Decoding(0.8, 0.05, 64, 8, 6 * 10**9), begun)
    made = Stream(run, Model(lambda prompt, seed: HOPELESS), runner, NullStage()).play(play)["arm"]
    assert sum(attempt.kind == "fork" for attempt in made) == 4
    assert [n for n in steps if n] == [3, 1]
