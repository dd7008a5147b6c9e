"""Measure what reading a failed program is worth: compare edits and forks with fresh drafts, on others' bugs and the model's own.

    python benchmarks/reading.py search SET ... [--arms search drafts] [--humanevalpack FILE] [--mbpp FILE] [--limit N]
    python benchmarks/reading.py table [--records benchmarks/results/reading]
    python benchmarks/reading.py localise SET ...
    python benchmarks/reading.py speed

``search`` plays two arms on every failed program of a set, with at most ``--tokens`` decoded tokens each. One arm makes fresh
drafts, the first of them greedy. The other searches: it tries small edits, then has the model rewrite up to three lines, then
leaves the program at up to two surprising places, then makes fresh drafts. What the search solved before it drafted is read off
the same attempts. Both arms see the public checks, and hidden checks score them. A run whose folder exists is resumed. The raw
records, one line per attempt, are written to the folder ``--records``. An arm that was not played this time keeps the records
that it has there, as long as these are of the same programs. ``table`` prints the results from the records alone and ends with
one JSON line. ``localise`` shows how often the bug is at the place that the search looks at first. ``speed`` shows how long a
reading takes and how many edits are tried per second.

The sets:

``fix``                        HumanEvalFix
``starter``                    bugs in references of the starter tasks that the weights of edits were not learned on
``mbpp``                       bugs in references of MBPP 11-510
``own-humaneval, own-mbpp``    the model's own greedy drafts that fail
``fit-starter``                to choose settings on: bugs in references of the other starter tasks
``fit-mbpp, fit-own``          to choose settings on: bugs in references of MBPP 601-974, and own drafts of them
``choose-bugs, choose-own``    the sets of ``learning.py``, from MBPP 601-650
"""

from __future__ import annotations

import argparse
import difflib
import gzip
import json
import platform
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx

import numpy as np

import mlx_selfdebug as sd
from mlx_selfdebug.config import load_config
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.evaluation.arms import ARMS, BLIND, SEARCH, answer, first_drafts, play_of
from mlx_selfdebug.evaluation.statistics import bootstrap_gain, mcnemar
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.progress import Bars
from mlx_selfdebug.repair.asking import Asking, Decoding
from mlx_selfdebug.repair.bugs import find_bugs, mutated, published, without_docstring
from mlx_selfdebug.repair.edits.trying import TracingRunner
from mlx_selfdebug.repair.policies import repairable
from mlx_selfdebug.repair.program_reading import ProgramReading
from mlx_selfdebug.repair.reading import Readings
from mlx_selfdebug.repair.stream import Stream
from mlx_selfdebug.sampling.language_model import open_decoder
from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.sandbox.executed import Executed
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

TOKENS = 460
"""The number of tokens that an arm may decode per program, which is enough for about four drafts."""
LIMITS = Limits(wall_s=3, cpu_s=3)
FORKS = 2
GIVEN = "given"
"""The arm under which the failed programs themselves are stored."""


@dataclass(frozen=True)
class Unit:
    """A failed program with its task."""

    task: Task
    """The task under an id of the unit's own, because one task may have several failed programs."""
    given: Attempt
    """The failed program."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["search", "table", "localise", "speed"])
    parser.add_argument("sets", nargs="*", metavar="SET")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--arms", nargs="+", choices=["search", "drafts"], default=["search", "drafts"])
    parser.add_argument(
        "--humanevalpack", default="", metavar="FILE", help="file of HumanEvalPack; from the hub if it is not given"
    )
    parser.add_argument("--mbpp", default="", metavar="FILE", help="file of MBPP; from the hub if it is not given")
    parser.add_argument(
        "--limit", type=int, default=0, help="bugs per set, or tasks drafted for it, spread evenly; 0 = all"
    )
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--folder", type=Path, default=Path("runs/reading"))
    parser.add_argument("--records", type=Path, default=Path("benchmarks/results/reading"))
    options = parser.parse_args()
    {"search": search, "table": table, "localise": localise, "speed": speed}[options.command](options)


def search(options: argparse.Namespace) -> None:
    model = load_model(options.model)
    for name in options.sets:
        with sd.Run(options.folder / name, _config(options)) as run, TestRunner(2, LIMITS) as runner:
            units = units_of(name, options, run, runner, model)
            print(f"{name}: {len(units)} failed programs", flush=True)
            arms = [{"search": SEARCH, "drafts": BLIND}[arm] for arm in options.arms]
            with Bars().stage(name, len(arms) * len(units), "programs") as stage:
                for arm in arms:
                    play = play_of(
                        ARMS[arm],
                        "base",
                        [unit.task for unit in units],
                        _decoding(options),
                        {unit.task.id: unit.given for unit in units},
                        tokens=options.tokens,
                        forks=FORKS,
                    )
                    Stream(run, model, runner, stage).play(play)
            _write_records(run, options.records / f"{name}.jsonl.gz")
    table(options)


def _config(options: argparse.Namespace) -> sd.Config:
    return load_config(overrides={"model": options.model}, environment={})


def _decoding(options: argparse.Namespace) -> Decoding:
    return Decoding(0.8, 0.05, 300, options.batch, 6 * 10**9, 700 * 10**6)


def units_of(name: str, options: argparse.Namespace, run: sd.Run, runner: TestRunner, model: Model) -> list[Unit]:
    """Return the failed programs of a set: those that the run has stored, or else new ones, which are stored."""
    tasks = _tasks(name, options)
    known = {attempt.task_id: attempt for attempt in run.attempts(GIVEN)}
    if not known:
        failed = _own(tasks, options, run, runner, model) if "own" in name else _bugs(name, tasks, options, runner)
        for attempt in failed:
            run.add_attempt(attempt)
        run.flush()
        known = {attempt.task_id: attempt for attempt in failed}
    tasks_of = {task.id: task for task in tasks}
    return [Unit(replace(tasks_of[id_.partition("#")[0]], id=id_), attempt) for id_, attempt in known.items()]


def _tasks(name: str, options: argparse.Namespace) -> list[Task]:
    sources: Mapping[str, Callable[[], Sequence[Task]]] = {
        "fix": lambda: load_tasks(set_from("humanevalpack", options.humanevalpack)),
        "own-humaneval": lambda: load_tasks(set_from("humanevalpack", options.humanevalpack)),
        "mbpp": lambda: load_tasks(set_from("mbpp", options.mbpp)),
        "own-mbpp": lambda: load_tasks(set_from("mbpp", options.mbpp)),
        "starter": lambda: [task for task in load_tasks("starter") if not learned_on(task)],
        "fit-starter": lambda: [task for task in load_tasks("starter") if learned_on(task)],
        "fit-mbpp": lambda: load_tasks(set_from("mbpp-train", options.mbpp)),
        "fit-own": lambda: load_tasks(set_from("mbpp-train", options.mbpp)),
        "choose-bugs": lambda: to_choose_on(load_tasks(set_from("mbpp-train", options.mbpp))),
        "choose-own": lambda: to_choose_on(load_tasks(set_from("mbpp-train", options.mbpp))),
    }
    return [task for task in sources[name]() if task.public]


def set_from(name: str, path: str) -> str:
    return f"{name}:{path}" if path else name


def to_choose_on(tasks: Sequence[Task]) -> list[Task]:
    """Return MBPP 601-650, on which recipes of training are chosen and nothing is learned."""
    return [task for task in tasks if int(task.id.rpartition("/")[2]) <= 650]


def learned_on(task: Task) -> bool:
    """Return whether the weights of edits may be learned on a starter task, as on half of the tasks, chosen by their ids."""
    return zlib.crc32(task.id.encode()) % 2 == 0


def _bugs(name: str, tasks: Sequence[Task], options: argparse.Namespace, runner: TestRunner) -> list[Attempt]:
    if name == "fix":
        fix = load_tasks(set_from("humanevalfix", options.humanevalpack))
        wrong = {task.id.rpartition("/")[2]: task.wrong[0] for task in fix}
        candidates = {task.id: published(task, wrong[task.id.rpartition("/")[2]]) for task in tasks}
    else:
        candidates = {task.id: mutated(task, 0) for task in tasks}
    return [bug.to_attempt(GIVEN, bug.candidate.id) for bug in find_bugs(candidates, runner, limit=options.limit)]


def _own(
    tasks: Sequence[Task], options: argparse.Namespace, run: sd.Run, runner: TestRunner, model: Model
) -> list[Attempt]:
    """Return the model's greedy drafts that fail a public check, as attempts that were given."""
    if options.limit:
        tasks = tasks[:: -(-len(tasks) // options.limit)]
    with Bars().stage("drafts", len(tasks), "tasks") as stage:
        play = first_drafts("base", tasks, replace(_decoding(options), temperature=0.0))
        drafts = Stream(run, model, runner, stage).play(play)[play.arm]
    return [
        replace(draft, task_id=f"{draft.task_id}#own", arm=GIVEN, finish="given", kind="given", n_completion_tokens=0)
        for draft in drafts
        if repairable(draft)
    ]


STAGES = ("edits", "edits, lines", "edits, lines, forks", "edits, lines, forks, drafts")
"""The stages that the search may stop after. An attempt belongs to the one with the index that ``_stage_of`` returns."""


def table(options: argparse.Namespace) -> None:
    rows: dict[str, Any] = {}
    print(f"{'':16}{'programs':>9}{'':30}{'solved':>8}{'tokens each':>12}{'wrong accepted':>15}")
    for file in sorted(options.records.glob("*.jsonl.gz")):
        name = file.name.removesuffix(".jsonl.gz")
        result = _measured(_recorded(file), options.tokens)
        if result is None:
            continue
        rows[name] = result
        for i, (stage, row) in enumerate(result["stages"].items()):
            head = f"{name:16}{result['n']:9}" if i == 0 else " " * 25
            print(f"{head}  {stage:28}{row['solved']:8}{row['tokens']:12.1f}{row['wrong_accepted']:15}")
        gain = result["gain"]
        low, high = gain["interval"]
        print(
            f"{'':25}  search - drafts: {gain['won']} won, {gain['lost']} lost, p = {gain['p']:.2g}, {low:.1%} to {high:.1%}"
        )
    machine = {"machine": platform.machine(), "device": device_name(), "python": platform.python_version()}
    print(
        json.dumps({"benchmark": "reading", "model": options.model, **machine, "tokens": options.tokens, "sets": rows})
    )


def _measured(attempts: Sequence[Attempt], tokens: int) -> dict[str, Any] | None:
    """Return the results on the programs that both arms have finished; None if there is no such program."""
    given = {attempt.task_id: attempt for attempt in attempts if attempt.arm == GIVEN}
    made = {arm: _by_task(given, [a for a in attempts if a.arm == f"base/{arm}"]) for arm in (SEARCH, BLIND)}
    ids = [id_ for id_ in given if all(_done(made[arm][id_], tokens) for arm in made)]
    if not ids:
        return None
    stages = {
        stage: _stage([[a for a in made[SEARCH][id_] if _stage_of(a) <= i] for id_ in ids], tokens)
        for i, stage in enumerate(STAGES)
    }
    stages["drafts"] = _stage([made[BLIND][id_] for id_ in ids], tokens)
    searched = [next(a for a in made[SEARCH][id_] if a.kind == "edits") for id_ in ids]
    solved = [{id_ for id_ in ids if answer(made[arm][id_], tokens).passed} for arm in (SEARCH, BLIND)]
    won, lost = len(solved[0] - solved[1]), len(solved[1] - solved[0])
    interval = bootstrap_gain(won, lost, len(ids))
    return {
        "n": len(ids),
        "stages": stages,
        "tries": mean(attempt.n_tries for attempt in searched),
        "read_tokens": mean(attempt.n_read_tokens for attempt in searched),
        "gain": {"won": won, "lost": lost, "p": mcnemar(won, lost), "interval": [interval.low, interval.high]},
    }


def _stage_of(attempt: Attempt) -> int:
    if attempt.kind != "fork":
        return 3 if attempt.kind == "draft" else 0
    return 1 if attempt.finish == "line" else 2


def _done(attempts: Sequence[Attempt], tokens: int) -> bool:
    used = sum(attempt.n_completion_tokens for attempt in attempts)
    return any(attempt.public.passed for attempt in attempts) or used >= tokens


def _by_task(given: Mapping[str, Attempt], attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    by_task = {id_: [attempt] for id_, attempt in given.items()}
    for attempt in sorted(attempts, key=lambda a: (a.sample, a.round)):
        by_task[attempt.task_id].append(attempt)
    return by_task


def _stage(made: Sequence[Sequence[Attempt]], tokens: int) -> dict[str, Any]:
    answers = [answer(attempts, tokens) for attempts in made]
    used = [sum(attempt.n_completion_tokens for attempt in attempts) for attempts in made]
    return {
        "solved": sum(attempt.passed for attempt in answers),
        "tokens": mean(used),
        "wrong_accepted": sum(attempt.public.passed and not attempt.passed for attempt in answers),
    }


RECORDED = ("task_id", "arm", "sample", "round", "kind", "finish", "public_outcome", "outcome", "n_completion_tokens",
            "n_read_tokens", "n_tries", "code")  # fmt: skip
"""What is recorded of an attempt."""


def _write_records(run: sd.Run, file: Path) -> None:
    """Write one line per attempt. The same attempts give the same bytes.

    Arms that the run has not played keep the records that the file has of them, if its failed programs are those of the run.
    """
    rows = [{name: record[name] for name in RECORDED} for record in (a.to_record() for a in run.attempts())]
    arms = {row["arm"] for row in rows}
    before = _rows(file) if file.exists() else []
    if _given(before) == _given(rows):
        rows += [row for row in before if row["arm"] not in arms]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
        out.writelines((json.dumps(row) + "\n").encode() for row in rows)


def _given(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {row["task_id"]: row["code"] for row in rows if row["arm"] == GIVEN}


def _rows(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt") as lines:
        return [json.loads(line) for line in lines]


def _recorded(file: Path) -> list[Attempt]:
    """Return the recorded attempts. What is not recorded of them is empty."""
    return [
        Attempt(
            row["task_id"], row["arm"], row["sample"], row["round"], "", "", "", row["code"], Verdict(row["outcome"]),
            Verdict(row["public_outcome"]), 0, row["n_completion_tokens"], 0, row["finish"], (), row["kind"],
            row["n_read_tokens"], row["n_tries"],
        )
        for row in _rows(file)
    ]  # fmt: skip


def localise(options: argparse.Namespace) -> None:
    """Print how often the line that is looked at first is a line that the bug changed.

    The column "reading" looks first at the line with the most surprising token, "spectrum" at a line that failing checks execute
    most and passing ones least, and "chance" at any line of the program.
    """
    model = load_model(options.model)
    rows = {}
    print(f"{'':16}{'programs':>9}{'reading':>9}{'spectrum':>10}{'chance':>8}")
    for name in options.sets:
        with sd.Run(options.folder / name, _config(options)) as run, TestRunner(2, LIMITS) as runner:
            units = units_of(name, options, run, runner, model)
            rows[name] = row = _localised(units, options, model, runner)
        shares = "".join(f"{row[key]:{width}.1%}" for key, width in (("reading", 9), ("spectrum", 10), ("chance", 8)))
        print(f"{name:16}{row['n']:9}{shares}", flush=True)
    print(json.dumps({"benchmark": "reading localise", "model": options.model, "sets": rows}))


def _localised(
    units: Sequence[Unit], options: argparse.Namespace, model: Model, runner: TestRunner
) -> dict[str, float]:
    shares: list[tuple[float, float, float]] = []
    for unit, program in read_all(units, options, model):
        changed = changed_lines(program.code, without_docstring(unit.task.reference, unit.task.entry_point))
        lines = [i for i, line in enumerate(program.code.split("\n"), 1) if line.strip()]
        if changed:
            place = int(np.argmax(program.reading.surprise))
            line = program.first_line + program.body.count("\n", 0, program.starts[place])
            shares.append((line in changed, _spectrum(unit, changed, runner), len(changed & {*lines}) / len(lines)))
    reading, spectrum, chance = (mean(column) for column in zip(*shares, strict=True))
    return {"n": len(shares), "reading": reading, "spectrum": spectrum, "chance": chance}


def _spectrum(unit: Unit, changed: set[int], runner: TestRunner) -> float:
    """Return the chance that a line drawn from the most suspicious ones is one that the bug changed."""
    domain = domain_of(unit.task.domain)
    trace: Any = domain.judge(unit.given.code, unit.task, unit.task.public, TracingRunner(runner, 1.0))
    ranked = suspiciousness(trace.result())
    top = [line for line, value in ranked.items() if value == max(ranked.values())]
    return mean(line in changed for line in top) if top else 0.0


def suspiciousness(executed: Executed) -> Mapping[int, float]:
    """Return, by line, how suspicious the line is, from 0 to 1: Ochiai's coefficient (Abreu, Zoeteweij and van Gemund 2006).

    It is failed(line) / sqrt(failed * (failed(line) + passed(line))). Here failed(line) and passed(line) are the numbers of failing
    and passing calls that ran the line, and failed is the number of all failing calls. If no call fails, all lines have 0.
    """
    failing = [call for call in executed.calls if not call.passed]
    n_failing = Counter(line for call in failing for line in call.lines)
    n_all = Counter(line for call in executed.calls for line in call.lines)
    return {line: n_failing[line] / (len(failing) * n_all[line]) ** 0.5 if failing else 0.0 for line in n_all}


def changed_lines(wrong: str, right: str) -> set[int]:
    """Return the numbers of the lines of ``wrong``, from 1, that differ from ``right``.

    Where a line is missing from ``wrong``, these are the lines on both sides of the gap.
    """
    a, b = ([line.strip() for line in text.split("\n")] for text in (_plain(wrong), _plain(right)))
    changed: set[int] = set()
    for kind, i, j, _, _ in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind == "insert":
            changed |= {i, i + 1}
        elif kind != "equal":
            changed |= {*range(i + 1, j + 1)}
    return changed


def _plain(code: str) -> str:
    return code.replace('"', "'")


def read_all(units: Sequence[Unit], options: argparse.Namespace, model: Model) -> Iterator[tuple[Unit, ProgramReading]]:
    """Yield each unit with the model's reading of its failed program."""
    if not units:
        return
    asking = Asking(model, [unit.task for unit in units], _decoding(options), 0, "read")
    decoder = open_decoder(model, budget_bytes=6 * 10**9, max_rows=16, max_row_tokens=1024)
    readings = Readings(model, decoder)
    for unit in units:
        question = asking.question(unit.task)
        yield unit, readings.read(unit.task, unit.given.code, question.prompt, question.ids, question.breaks)


def speed(options: argparse.Namespace) -> None:
    """Print how long a reading takes beside a prefill of the same text, and the tries per second once a program has been read."""
    model = load_model(options.model)
    tasks = [task for task in load_tasks("starter") if task.public][::8][: options.limit or 12]
    with TestRunner(2, LIMITS) as runner:
        bugs = find_bugs({task.id: mutated(task, 0) for task in tasks}, runner)
        units = [
            Unit(replace(bug.candidate.task, id=bug.candidate.id), bug.to_attempt(GIVEN, bug.candidate.id))
            for bug in bugs
        ]
        programs = list(read_all(units, options, model))
        prefill, reading = _reading_seconds(model, [program for _, program in programs])
        n_tries, seconds = _tried(programs, runner)
    print(f"prefill {prefill:.2f} s, reading {reading:.2f} s: {reading / prefill:.2f} times as long")
    print(f"{n_tries} tries in {seconds:.1f} s: {n_tries / seconds:.0f} per second")
    row = {"prefill_s": prefill, "reading_s": reading, "ratio": reading / prefill, "tries_per_s": n_tries / seconds}
    print(json.dumps({"benchmark": "reading speed", "model": options.model, "device": device_name(), **row}))


def _reading_seconds(model: Model, programs: Sequence[ProgramReading]) -> tuple[float, float]:
    """Return the median seconds of a prefill of prompt and program and of a reading. Both compute the prompt anew."""
    from mlx_selfdebug.sampling.prefixes import Prefixes
    from mlx_selfdebug.sampling.reading import Reader

    def timed(work: Callable[[], Any]) -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    pairs = []
    for program in programs:
        both = program.prompt_ids + program.ids
        cut = {len(program.prompt_ids) - 1}
        prefill = timed(lambda both=both, cut=cut: Prefixes(model.network, 512, 1).whole(both, cut))  # type: ignore[misc]
        reading = timed(
            lambda program=program: Reader(model, Prefixes(model.network, 512, 1)).read(program.prompt_ids, program.ids)  # type: ignore[misc]
        )
        pairs.append((prefill, reading))
    mx.clear_cache()
    return median(a for a, _ in pairs), median(b for _, b in pairs)


def _tried(programs: Sequence[tuple[Unit, ProgramReading]], runner: TestRunner) -> tuple[int, float]:
    """Return the number of tries and the seconds of all searches, which run one after the other on programs already read."""
    from mlx_selfdebug.repair.edits.searching import SearchPool, SearchRequest
    from mlx_selfdebug.repair.judging import VerdictCache
    from mlx_selfdebug.repair.policies import Move

    pool = SearchPool(runner, VerdictCache(runner), lambda _, codes: [0.0] * len(codes))
    begin, n_tries = time.perf_counter(), 0
    for unit, program in programs:
        pool.begin(SearchRequest("speed", unit.task, Move(0, 1, unit.given, by="edits"), program, 0))
        while pool.pending:
            for future in pool.futures:
                future.result()
            n_tries += sum(attempt.n_tries for attempt in pool.finished())
    return n_tries, time.perf_counter() - begin


if __name__ == "__main__":
    main()
