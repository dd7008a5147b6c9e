"""Run the whole proof of ``PLAN.md``: train the adapters, test each once, and make the tables from the records.

    python benchmarks/proof/proof.py collect  [--mbpp FILE]
    python benchmarks/proof/proof.py train    [CONFIGURATION ...] [--seeds 0 1 2] [--minutes N]
    python benchmarks/proof/proof.py test     [SET ...] [--prompts shown hidden] [--humanevalpack FILE] [--mbppplus FILE]
    python benchmarks/proof/proof.py table    [--records benchmarks/results/proof]
    python benchmarks/proof/proof.py all

``collect`` drafts on the training tasks and puts bugs into right programs. ``train`` trains the adapters of the configurations
(``CONFIGURATIONS``, all of them if none is named) for each seed. ``test`` has the base and all adapters that are trained play the
arms on each test set, with the public tests in the prompts and without. ``table`` answers the questions of the plan
(``QUESTIONS``) from the records alone and ends with one JSON line. ``all`` does everything in this order.

Everything may be stopped at any time, and goes on when the same command is called again. Every finished run is written to the
folder ``--records``. Where only the records are, for example on another machine, training goes on from them.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from mlx_selfdebug.models.backend import device_name

from reading import set_from
from rewards import Sitting, SittingOverError, collect_into
from run_records import SUFFIX, restore_run, write_records

import mlx_selfdebug as sd
from mlx_selfdebug.config import load_config
from mlx_selfdebug.evaluation.arms import ArmKey
from mlx_selfdebug.evaluation.hard import pass_rates
from mlx_selfdebug.evaluation.played import BUGS, OWN, Played, read_bugs, read_own_failures
from mlx_selfdebug.evaluation.statistics import bootstrap_gain, holm, mcnemar
from mlx_selfdebug.models.load import load_model
from mlx_selfdebug.progress import Bars
from mlx_selfdebug.stages.branch import branch
from mlx_selfdebug.store import open_stored
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.tasks.task_set import TaskSet
from mlx_selfdebug.training.adapter import open_adapter

REWARDS: Mapping[str, Any] = {
    "train.max_pairs": 0,
    "train.reward_steps": 400,
    "train.reward_max_tokens": 200,
    "train.reward_learning_rate": 1e-4,
    "train.rank": 16,
    "train.patience": 0,
}
"""Training by rewards alone, from a fresh adapter, that makes all its steps."""
CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "trained": REWARDS,
    "drafts-alone": {**REWARDS, "train.reward_repair_share": 0.0, "train.reward_bug_share": 0.0},
    "random-rewards": {**REWARDS, "train.reward_by": "random"},
    "facts-of-others": {**REWARDS, "train.facts": "other"},
    "no-facts": {**REWARDS, "train.facts": "none"},
}
"""The trainings of the plan: the one that is to be proven, and its controls."""
TRAINED = "trained"
SEEDS = (0, 1, 2)
SETS = ("humanevalpack", "mbppplus")
PROMPTS = ("shown", "hidden")
TOKENS = 600
"""The number of tokens that an arm may generate per task: the first draft and about four further attempts."""
HARD_DRAFTS = 8
"""The number of drafts of the base that must all be wrong for a problem to be hard."""
ARMS = "blind,facts,edits+forks+blind,edits+forks+facts"
COLLECTED = "collected"
SAMPLES = 4
"""The number of drafts of each training task."""


@dataclass(frozen=True)
class Question:
    """A question of the plan: does one arm solve more than each of the others?"""

    text: str
    left: str
    """The arm that the question is about, such as "trained/facts". "trained" stands for each of its seeds."""
    rights: tuple[str, ...]
    """The arms that it has to beat, all of them."""
    half: str = OWN
    only_hard: bool = False
    """Whether only the problems count that no draft of the base solves."""


BLIND_ARMS = ("base/blind", "trained/blind", "drafts-alone/blind")
FACTS, SEARCH_FACTS, SEARCH = "trained/facts", "trained/edits+forks+facts", "base/edits+forks+blind"
QUESTIONS = (
    Question("repairing with facts beats drawing afresh, on hard problems", FACTS, BLIND_ARMS, only_hard=True),
    Question(
        "searching, then repairing beats drawing afresh, on hard problems", SEARCH_FACTS, BLIND_ARMS, only_hard=True
    ),
    Question("repairing with facts beats drawing afresh", FACTS, BLIND_ARMS),
    Question("searching, then repairing beats the base that searches, then draws afresh", SEARCH_FACTS, (SEARCH,)),
    Question("the adapter repairs more than the base", FACTS, ("base/facts",)),
    Question("the adapter repairs more of others' bugs than the base", FACTS, ("base/facts",), BUGS),
    Question("on others' bugs, repairing beats drawing afresh", FACTS, BLIND_ARMS, BUGS),
    Question("rewards for right programs teach more than random ones", FACTS, ("random-rewards/facts",)),
    Question("the task's own facts teach more than those of others", FACTS, ("facts-of-others/facts",)),
    Question("facts teach more than none", FACTS, ("no-facts/facts",)),
    Question("searching first beats drawing afresh, without any training", SEARCH, ("base/blind",)),
    Question("first drafts are better than those of the base", "trained/first", ("base/first",)),
)
"""The questions, declared before any test. The first two are the primary ones."""
N_PRIMARY = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["collect", "train", "test", "table", "all"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="configurations to train, or sets to test on")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--prompts", nargs="+", choices=PROMPTS, default=list(PROMPTS))
    parser.add_argument("--minutes", type=float, default=0.0, help="length of the sitting of `train`; 0 = to the end")
    parser.add_argument("--humanevalpack", default="", metavar="FILE", help="file of HumanEvalPack; else from the hub")
    parser.add_argument("--mbpp", default="", metavar="FILE", help="file of MBPP; else from the hub")
    parser.add_argument("--mbppplus", default="", metavar="FILE", help="file of MBPP+, which is needed for its set")
    parser.add_argument("--limit", type=int, default=0, help="tasks to learn from, or to test on; 0 = all of the plan")
    parser.add_argument("--steps", type=int, default=REWARDS["train.reward_steps"], help="reward steps per adapter")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--folder", type=Path, default=Path("runs/proof"))
    parser.add_argument("--records", type=Path, default=Path("benchmarks/results/proof"))
    options = parser.parse_args()
    known = {"train": CONFIGURATIONS, "test": SETS}.get(options.command, ())
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"{options.command}: unknown name {unknown[0]!r}. Known: {', '.join(known) or 'none'}")
    commands = {"collect": collect, "train": train, "test": test, "table": table}
    for command in commands.values() if options.command == "all" else [commands[options.command]]:
        command(options)


def collect(options: argparse.Namespace) -> None:
    collect_into(options.folder / COLLECTED, tasks_file(options), options, SAMPLES)


def tasks_file(options: argparse.Namespace) -> Path:
    """Return the file of the tasks to learn from, which is made if it is missing: the starter set and MBPP 601-974."""
    file: Path = options.folder / "tasks.jsonl"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        tasks = [*load_tasks("starter"), *load_tasks(set_from("mbpp-train", options.mbpp))]
        dump_tasks(TaskSet("training", (task for task in tasks if task.public)).spread(options.limit), file)
    return file


def train(options: argparse.Namespace) -> None:
    model = load_model(options.model)
    tasks_file(options)
    restore_run(options.folder / COLLECTED, options.records)
    sitting = Sitting(options.minutes)
    with suppress(SittingOverError):
        for seed in options.seeds:  # every configuration has one seed before any has two
            for name in options.names if options.command == "train" and options.names else CONFIGURATIONS:
                folder = options.folder / f"{name}-{seed}"
                if not restore_run(folder, options.records):
                    settings = {**CONFIGURATIONS[name], "train.reward_steps": options.steps, "seed": seed}
                    with open_stored(options.folder / COLLECTED) as source:
                        branch(source, folder, load_config(overrides=settings, base=source.config, environment={}))
                try:
                    with sd.Run(folder) as run:
                        sd.train(run, model, progress=sitting)
                finally:
                    write_records(folder, options.records)


def test(options: argparse.Namespace) -> None:
    model = load_model(options.model)
    adapters = finished_adapters(options.folder)
    if f"{TRAINED}-0" not in adapters:
        sys.exit(f"the adapter {TRAINED}-0 is not finished in {options.folder}; call `train` first")
    for name in options.names if options.command == "test" and options.names else SETS:
        tasks = test_tasks(name, options)
        for prompts in options.prompts:
            folder = options.folder / f"{name}-{prompts}"
            restore_run(folder, options.records)
            settings = {
                "model": options.model, "collect.tasks": str(tasks_file(options)), "eval.tasks": name, "eval.arms": ARMS,
                "eval.tokens": TOKENS, "eval.max_tokens": 300, "eval.hard_drafts": HARD_DRAFTS, "eval.public_checks": prompts,
                "eval.batch_size": options.batch, "eval.bugs": bugs_of(name, options),
            }  # fmt: skip
            with sd.Run(folder, load_config(overrides=settings, environment={})) as run:
                opened = {adapter: open_adapter(path) for adapter, path in adapters.items()}
                sd.evaluate(run, model, opened.pop(f"{TRAINED}-0"), tasks, others=opened, progress=Bars())
            write_records(folder, options.records)


def finished_adapters(folder: Path) -> dict[str, Path]:
    """Return the adapters whose training has ended, by the names of their runs."""
    finished = {}
    for path in sorted(folder.glob("*-[0-9]*/adapter")):
        with open_stored(path.parent) as run:
            if run.is_done("rewards"):
                finished[path.parent.name] = path
    return finished


def test_tasks(name: str, options: argparse.Namespace) -> TaskSet:
    """Return the tasks of a test set: HumanEvalPack's, or those of MBPP+ from 11 to 510, on none of which anything is trained."""
    tasks = load_tasks(set_from(name, getattr(options, name)))
    if name == "mbppplus":
        tasks = [task for task in tasks if 11 <= int(task.id.rpartition("/")[2]) <= 510]
    return TaskSet(name, (task for task in tasks if task.public)).spread(options.limit)


def bugs_of(name: str, options: argparse.Namespace) -> str:
    return set_from("humanevalfix", options.humanevalpack) if name == "humanevalpack" else "operators"


Solved = Mapping[ArmKey, frozenset[str]]
"""The problems that each arm solves."""


@dataclass(frozen=True)
class Half:
    """The problems of one half of a test, and who solves them."""

    problems: frozenset[str]
    hard: frozenset[str]
    solved: Solved


def table(options: argparse.Namespace) -> None:
    rows = []
    for prompts in PROMPTS:
        halves = list(read_halves(options.records, prompts))
        answers = [(question, answer) for question in QUESTIONS for answer in answers_to(question, halves)]
        # The primary questions are corrected among themselves, and all others among themselves.
        for group in (QUESTIONS[:N_PRIMARY], QUESTIONS[N_PRIMARY:]):
            of_group = [(question, answer) for question, answer in answers if question in group]
            corrected = holm([answer["p"] for _, answer in of_group])
            for (question, answer), p in zip(of_group, corrected, strict=True):
                rows.append({"prompts": prompts, "question": question.text, **answer, "p_holm": p})
    for row in rows:
        low, high = (f"{100 * bound:+.1f}" for bound in row["interval"])
        print(
            f"{row['prompts']:7}{row['left']:34}{row['right']:28}{row['won']:4} won{row['lost']:4} lost of {row['n']:4}"
            f"   {low} to {high} points   p = {row['p']:.2g}, corrected {row['p_holm']:.2g}   {row['question']}"
        )
    machine = {"machine": platform.machine(), "device": device_name(), "python": platform.python_version()}
    print(json.dumps({"benchmark": "proof", "model": options.model, **machine, "answers": rows}))


def read_halves(records: Path, prompts: str) -> Iterator[tuple[str, Half]]:
    """Yield the halves of all test sets, with the name of each, from the records alone. Problems have their set's name in front."""
    for file in sorted(records.glob(f"*-{prompts}{SUFFIX}")):
        name = file.name.removesuffix(SUFFIX)
        with TemporaryDirectory() as folder:
            restore_run(Path(folder) / name, records)
            with open_stored(Path(folder) / name) as run:
                hard = {id_ for id_, rate in pass_rates(run).items() if rate == 0}
                for half, played in ((OWN, read_own_failures(run)), (BUGS, read_bugs(run))):
                    if played:
                        yield half, half_of(name, played, hard)


def half_of(name: str, played: Played, hard: set[str]) -> Half:
    def named(ids: Iterable[str]) -> frozenset[str]:
        return frozenset(f"{name}:{id_}" for id_ in ids)

    is_hard = [id_ for id_ in played.figures if played.origins.get(id_, id_) in hard]
    solved = {ArmKey(seed_name(key.model), key.arm): named(ids) for key, ids in played.solved.items()}
    return Half(named(played.figures), named(is_hard), solved)


def seed_name(model: str) -> str:
    """Return the name of an evaluated model with its seed. The run calls the trained adapter of seed 0 "adapter"."""
    return f"{TRAINED}-0" if model == "adapter" else model


def answers_to(question: Question, halves: Sequence[tuple[str, Half]]) -> Iterator[dict[str, Any]]:
    """Yield the answers to a question, pooled over the sets: for each seed, against the opponent that is hardest to beat.

    A seed is left out if it or an opponent has not been tested on all sets.
    """
    pooled = [half for name, half in halves if name == question.half]
    if not pooled:
        return
    problems = frozenset[str]().union(*(half.hard if question.only_hard else half.problems for half in pooled))
    tested = frozenset(pooled[0].solved).intersection(*(half.solved for half in pooled))
    name, _, arm = question.left.partition("/")
    for left in sorted(key for key in tested if key.arm == arm and key.model.partition("-")[0] == name):
        seed = left.model[len(name) :]
        rights = [ArmKey(*with_seed(right, seed)) for right in question.rights]
        if tested.issuperset(rights):
            against = [compared(left, right, pooled, problems) for right in rights]
            # To beat all opponents at 5 % is to beat the one with the largest p.
            yield max(against, key=lambda answer: answer["p"])


def with_seed(arm: str, seed: str) -> tuple[str, str]:
    """Return the model, with the seed that its name ends with, and the arm of an arm such as "trained/facts"."""
    name, _, arm = arm.partition("/")
    return (name if name == "base" else name + seed), arm


def solved_by(key: ArmKey, halves: Sequence[Half], problems: frozenset[str]) -> frozenset[str]:
    return problems.intersection(frozenset().union(*(half.solved[key] for half in halves)))


def compared(left: ArmKey, right: ArmKey, halves: Sequence[Half], problems: frozenset[str]) -> dict[str, Any]:
    ours, theirs = (solved_by(key, halves, problems) for key in (left, right))
    won, lost, n = len(ours - theirs), len(theirs - ours), len(problems)
    # A question asks whether the left arm is better, so an arm that is behind has not shown it, however small p is.
    p = mcnemar(won, lost) if won > lost else 1.0
    interval = bootstrap_gain(won, lost, n) if n else None
    return {
        "left": str(left), "right": str(right), "n": n, "won": won, "lost": lost, "p": p,
        "interval": [interval.low, interval.high] if interval else [0.0, 0.0],
    }  # fmt: skip


if __name__ == "__main__":
    main()
