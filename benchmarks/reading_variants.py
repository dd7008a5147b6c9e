"""Try other uses of a reading than one edit or one fork, on the sets of failed programs that settings are chosen on.

    python benchmarks/reading_variants.py [SET ...] [--mbpp FILE] [--limit N] [--folder runs/reading]

``reading.py`` describes the sets. Those to choose settings on are ``fit-starter``, ``fit-mbpp`` and ``fit-own``. Each failed
program is searched as the package does it, and then separately in each of the ways below. The first edit that passes the public
checks within 150 tries is the answer, and hidden checks score it.

``facts``         the program is read as the answer to a prompt with the statement and the facts of its tests, without its code
``two edits``     if no edit passes: each of the eight best edited programs is read and edited once more
``infilling``     if no edit passes: each of the three most surprising lines is written anew between the lines around it
``second place``  if no edit passes: a fork at the first place, then a fork of the program at the second place
``two forks``     if no edit passes: a fork at the first place, then a fork of the fork that failed
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx

from mlx_lm.generate import generate_step
from reading import LIMITS, Unit, units_of

import mlx_selfdebug as sd
from mlx_selfdebug.config import load_config
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.progress import NullProgress
from mlx_selfdebug.repair.asking import Asking, Decoding
from mlx_selfdebug.repair.edits.candidates import candidates, worthwhile
from mlx_selfdebug.repair.edits.hints import hints_of
from mlx_selfdebug.repair.edits.searching import MAX_TRIES
from mlx_selfdebug.repair.edits.trying import QuickRunner, wall_s_of
from mlx_selfdebug.repair.policies import Move, repairable
from mlx_selfdebug.repair.program_reading import ProgramReading
from mlx_selfdebug.repair.reading import Readings
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sampling.language_model import open_decoder
from mlx_selfdebug.sandbox import TestRunner
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.feedback import Feedback
from mlx_selfdebug.values.task import Task

BEAM = 8
"""The number of edited programs that are edited once more."""
MAX_LINES = 3
"""The largest number of lines per program that are written anew."""
MAX_LINE_TOKENS = 40
"""The largest number of tokens in a line that is written anew."""


@dataclass(frozen=True)
class Answer:
    """The result of one way of searching for one program."""

    passes: bool
    """Whether some edit passes the public checks."""
    right: bool
    """Whether the first edit that does also passes the hidden checks."""
    n_tries: int
    """Edits that were run."""
    n_tokens: int = 0
    """Tokens that were decoded."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["fit-starter", "fit-mbpp", "fit-own"], metavar="SET")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--humanevalpack", default="", metavar="FILE")
    parser.add_argument("--mbpp", default="", metavar="FILE", help="file of MBPP; from the hub if it is not given")
    parser.add_argument("--limit", type=int, default=40, help="programs of each set, spread evenly; 0 = all")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--folder", type=Path, default=Path("runs/reading"))
    options = parser.parse_args()
    model = load_model(options.model)
    rows = {}
    for name in options.sets:
        config = load_config(overrides={"model": options.model}, environment={})
        with sd.Run(options.folder / name, config) as run, TestRunner(2, LIMITS) as runner:
            units = units_of(name, options, run, runner, model)
            rows[name] = _set(name, units, _Variants(model, runner, units, run))
    print(json.dumps({"benchmark": "reading variants", "model": options.model, "device": device_name(), "sets": rows}))


def _set(name: str, units: Sequence[Unit], variants: _Variants) -> dict[str, Any]:
    answers: dict[str, dict[str, Answer]] = {"edits": {}, "facts": {}, "two edits": {}, "infilling": {}}
    for unit in units:
        program = variants.read(unit)
        answer = answers["edits"][unit.task.id] = variants.first(unit, _programs(unit, program))
        answers["facts"][unit.task.id] = variants.first(unit, _programs(unit, variants.read_with_facts(unit)))
        if not answer.passes:
            answers["two edits"][unit.task.id] = variants.first(unit, variants.edited_twice(unit, program))
            answers["infilling"][unit.task.id] = variants.infilled(unit, program)
    missed = [unit for unit in units if not answers["edits"][unit.task.id].passes]
    answers |= variants.forked(missed)
    row = {way: _counted(by_id.values()) for way, by_id in answers.items()}
    for way, counts in row.items():
        print(f"{name:14}{way:12}{counts['right']:4} right and {counts['passes']:4} pass of {counts['n']:4}, "
              f"{counts['tries']:6.1f} tries and {counts['tokens']:6.1f} tokens each", flush=True)  # fmt: skip
    return row


def _counted(answers: Iterable[Answer]) -> dict[str, Any]:
    made = list(answers)
    return {
        "n": len(made),
        "passes": sum(answer.passes for answer in made),
        "right": sum(answer.right for answer in made),
        "tries": sum(answer.n_tries for answer in made) / max(1, len(made)),
        "tokens": sum(answer.n_tokens for answer in made) / max(1, len(made)),
    }


def _programs(unit: Unit, program: ProgramReading) -> Iterator[str]:
    """Return the edited programs that are worth a run, the most promising first."""
    domain = domain_of(unit.task.domain)
    ordered = candidates(program, domain, hints_of(unit.task, unit.given.public.failures))
    return (candidate.code for candidate in worthwhile(ordered, program, domain))


class _Variants:
    """The ways to search the failed programs ``units`` with one model."""

    def __init__(self, model: Model, runner: TestRunner, units: Sequence[Unit], run: sd.Run) -> None:
        self._model, self._runner, self._run = model, runner, run
        self._decoding = Decoding(0.0, 0.0, 300, 48, 6 * 10**9, 700 * 10**6)
        self._asking = Asking(model, [unit.task for unit in units], self._decoding, 0, "read")
        self._readings = Readings(model, open_decoder(model, budget_bytes=6 * 10**9, max_rows=16, max_row_tokens=1024))

    def read(self, unit: Unit, code: str = "") -> ProgramReading:
        question = self._asking.question(unit.task)
        return self._readings.read(unit.task, code or unit.given.code, question.prompt, question.ids, question.breaks)

    def read_with_facts(self, unit: Unit) -> ProgramReading:
        domain = domain_of(unit.task.domain)
        prompt = domain.repair_prompt(unit.task, unit.given, feedback=Feedback(code=False))
        ids = self._model.render([{"role": "user", "content": prompt}], reply_prefix=domain.reply_prefix)
        # Readings are remembered by the task's id, and this one must not be taken for the reading without facts.
        task_with_facts = replace(unit.task, id=f"{unit.task.id} told the facts")
        return self._readings.read(task_with_facts, unit.given.code, prompt, tuple(ids), ())

    def first(self, unit: Unit, programs: Iterable[str]) -> Answer:
        """Run the programs in order until one passes the public checks, and judge that one by the hidden checks."""
        task, domain = unit.task, domain_of(unit.task.domain)
        quick = QuickRunner(self._runner, wall_s_of(unit.given.public, LIMITS.wall_s))
        waiting = islice(programs, MAX_TRIES)
        n = 0
        while batch := list(islice(waiting, 8)):
            runs = [domain.judge(code, task, task.public, quick) for code in batch]
            for code, future in zip(batch, runs, strict=True):
                n += 1
                if future.result().passed:
                    return Answer(True, domain.judge(code, task, task.hidden, self._runner).result().passed, n)
        return Answer(False, False, n)

    def edited_twice(self, unit: Unit, program: ProgramReading) -> Iterator[str]:
        """Return the programs two edits away, in the order of the sum of both scores."""
        domain, hints = domain_of(unit.task.domain), hints_of(unit.task, unit.given.public.failures)
        scored: list[tuple[float, str]] = []
        for once in islice(worthwhile(candidates(program, domain, hints), program, domain), BEAM):
            again = self.read(unit, once.code)
            twice = worthwhile(candidates(again, domain, hints), again, domain, [program.code])
            scored += [(once.score + second.score, second.code) for second in islice(twice, MAX_TRIES)]
        return iter(dict.fromkeys(code for _, code in sorted(scored, key=lambda item: -item[0])))

    def infilled(self, unit: Unit, program: ProgramReading) -> Answer:
        """Rewrite the most surprising lines greedily, each by itself, with the model's tokens for filling in the middle."""
        lines = program.body.split("\n")
        surprise = [0.0] * len(lines)
        for start, value in zip(program.starts, program.reading.surprise.tolist(), strict=False):
            line = program.body.count("\n", 0, start)
            surprise[line] = max(surprise[line], value)
        order = sorted(range(1, len(lines)), key=lambda i: -surprise[i])[:MAX_LINES]
        written, n_tokens = [], 0
        for i in order:
            text, n = self._line(unit.task, "\n".join(lines[:i]) + "\n", "\n" + "\n".join(lines[i + 1 :]))
            n_tokens += n
            written.append(program.code_of("\n".join([*lines[:i], text, *lines[i + 1 :]])))
        return replace(self.first(unit, written), n_tokens=n_tokens)

    def _line(self, task: Task, before: str, after: str) -> tuple[str, int]:
        comment = "".join(f"# {line}\n" for line in task.statement.strip().splitlines())
        text = f"<|fim_prefix|>{comment}{before}<|fim_suffix|>{after}\n<|fim_middle|>"
        ids = self._model.tokenizer.encode(text)
        out: list[int] = []
        for token, _ in generate_step(mx.array(ids), self._model.network, max_tokens=MAX_LINE_TOKENS):
            out.append(int(token))
            if int(token) in self._model.eos_ids or "\n" in self._model.decode(out).strip("\n"):
                break
        decoded = self._model.decode([id_ for id_ in out if id_ not in self._model.eos_ids])
        return decoded.strip("\n").split("\n")[0], len(out)

    def forked(self, units: Sequence[Unit]) -> dict[str, dict[str, Answer]]:
        """Fork each program at its first place, and once more if that fails, in two ways.

        The second fork leaves either the program at its second place, or the failed fork at that fork's first place.
        """
        ways: dict[str, Callable[[Attempt, Sequence[Attempt]], Move]] = {
            "second place": lambda given, _: Move(0, 2, given, 0.0, by="fork", place=1),
            "two forks": lambda _, made: Move(0, 2, made[-1], 0.0, by="fork", place=0),
        }
        answers: dict[str, dict[str, Answer]] = {}
        for way, second in ways.items():
            tasks = [unit.task for unit in units]
            given = {unit.task.id: [unit.given] for unit in units}
            arm = f"variants/{way}"
            with NullProgress().stage(arm) as stage:
                play = Play(arm, tasks, _Forks(second), self._decoding, given)
                made = Stream(self._run, self._model, self._runner, stage).play(play)[arm] if tasks else []
            answers[way] = {unit.task.id: _of_forks([a for a in made if a.task_id == unit.task.id]) for unit in units}
        return answers


@dataclass(frozen=True)
class _Forks:
    """The policy of one fork at the program's first place, and of another if that one fails."""

    second: Callable[[Attempt, Sequence[Attempt]], Move]
    """Returns the second fork from the failed program and the forks made so far."""

    def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:  # noqa: ARG002
        made = [attempt for attempt in attempts if attempt.kind == "fork"]
        if not made:
            return [Move(0, 1, attempts[0], 0.0, by="fork")]
        if len(made) > 1 or made[-1].public.passed or not repairable(made[-1]):
            return []
        return [self.second(attempts[0], made)]


def _of_forks(made: Sequence[Attempt]) -> Answer:
    passed = next((attempt for attempt in made if attempt.public.passed), None)
    n_tokens = sum(attempt.n_completion_tokens for attempt in made)
    return Answer(passed is not None, passed is not None and passed.passed, len(made), n_tokens)


if __name__ == "__main__":
    main()
