"""Make wrong programs for tasks, and keep those whose failure can be shown.

Wrong programs are made by putting bugs into right code, or taken from a published set (``published``). ``mutated`` applies one of
the operators of ``auditing/mutants.py``, for an evaluation that reports operators one by one. ``stacked`` applies a few of them one
after the other, for training. A seed and the task's id decide which operators are applied, and where.

``find_bugs`` runs these candidates and keeps those that fail a public check and a hidden one. Programs that cannot be loaded, or
that do what no honest program does, are not bugs. A program that runs into a limit is kept only if its task has too few other bugs.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlx_selfdebug.auditing.mutants import MUTABLE, Mutant, mutants_of
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.python_source import function_named
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.repair.judging import require_tested
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import SUSPICIOUS, Outcome, Verdict

MAX_CANDIDATES = 16
"""The largest number of candidates that ``mutated`` returns for one task."""
HUMANEVALFIX = "humanevalfix"
"""The name and the operator of a candidate that comes from HumanEvalFix."""
_NO_PROGRAM: frozenset[Outcome] = frozenset({"load_error", "missing_entry"})
_LIMITS: frozenset[Outcome] = frozenset({"timeout_wall", "timeout_cpu", "memory", "output_limit", "crashed"})


@dataclass(frozen=True)
class Candidate:
    """A program that may be wrong."""

    task: Task
    name: str
    """A name that is unique among the candidates made from the same program."""
    operator: str
    """The operator that made the candidate; several operators are joined by "+"."""
    code: str
    parent: str = ""
    """The id of the attempt whose code was changed, or "" if the task's reference was."""

    @property
    def id(self) -> str:
        """Return a readable id.

        The ids of ``mutated`` name the same program in every run: "HumanEval/3#constant-1" is the first mutant that the operator
        "constant" makes of the reference of HumanEval/3.
        """
        return f"{self.task.id}#{self.name}"


@dataclass(frozen=True)
class Bug:
    """A candidate that failed a public check and a hidden one, with its verdicts on both."""

    candidate: Candidate
    public: Verdict
    hidden: Verdict

    def to_attempt(self, arm: str, task_id: str, sample: int = 0) -> Attempt:
        """Return the wrong program as an attempt that others can be made from. No model decoded it, so it took no tokens."""
        code = self.candidate.code
        return Attempt(
            task_id=task_id,
            arm=arm,
            sample=sample,
            round=0,
            parent=self.candidate.parent,
            prompt="",
            completion=domain_of(self.candidate.task.domain).completion(code),
            code=code,
            verdict=self.hidden,
            public=self.public,
            n_prompt_tokens=0,
            n_completion_tokens=0,
            seed=0,
            finish="given",
            kind="given",
        )


def mutated(task: Task, seed: int) -> list[Candidate]:
    """Return the task's reference with one change each, in the order in which these candidates should be tried.

    All operators that can be applied to the reference are equally likely and take turns, so that the many constants do not crowd
    out the rest. There are no candidates for a task without public checks, or in a domain without operators.
    """
    if task.domain not in MUTABLE or not task.public:
        return []
    numbered: dict[str, list[tuple[int, Mutant]]] = {}
    for mutant in mutants_of(without_docstring(task.reference, task.entry_point), task.entry_point):
        of_operator = numbered.setdefault(mutant.operator, [])
        of_operator.append((len(of_operator) + 1, mutant))
    draw = random.Random(f"{seed}:{task.id}:bugs")
    operators = sorted(numbered)
    draw.shuffle(operators)
    for operator in operators:
        draw.shuffle(numbered[operator])
    longest = max(map(len, numbered.values()), default=0)
    turns = [
        (operator, *numbered[operator][i])
        for i in range(longest)
        for operator in operators
        if i < len(numbered[operator])
    ]
    return [
        Candidate(task, f"{operator.replace(' ', '-')}-{number}", operator, mutant.source.strip("\n") + "\n")
        for operator, number, mutant in turns[:MAX_CANDIDATES]
    ]  # fmt: skip


def stacked(
    task: Task, code: str, parent: str, *, seed: int, max_edits: int, n: int, weights: Mapping[str, float] | None = None
) -> list[Candidate]:
    """Return up to ``n`` different programs, each of them one to ``max_edits`` edits away from ``code``, which is right.

    Each further edit is half as likely as the one before it. ``weights`` gives the relative frequency with which an operator is
    drawn, among those that can be applied to the code; it is 1 for an operator that is missing there. There are no candidates for
    a task without public checks, in a domain without operators, or for code that does not parse.
    """
    right = plain_source(code, task.entry_point)
    if task.domain not in MUTABLE or not task.public or not right:
        return []
    draw = random.Random(f"{seed}:{task.id}:{parent}:stacked")
    mutants = _Mutants(task.entry_point, weights or {})
    drawn: dict[str, Candidate] = {}
    # Twice as many draws as programs, because some draws repeat a program or end where they began.
    for _ in range(2 * n):
        operators, source = [], right
        for _ in range(_number_of_edits(draw, max_edits)):
            mutant = mutants.draw(source, draw)
            if mutant is None:
                break
            operators.append(mutant.operator)
            source = mutant.source
        text = source.strip("\n") + "\n"
        if operators and text != right and len(drawn) < n:
            name = f"stacked-{len(drawn) + 1}"
            drawn.setdefault(text, Candidate(task, name, "+".join(operators), text, parent))
    return list(drawn.values())


def plain_source(code: str, entry_point: str) -> str:
    """Return ``code`` in the layout of ``ast.unparse``, without comments and without the entry point's docstring.

    Bugs are put into code of this form, and their fix is written in this form as well, so that the bug is the only difference.
    Code that does not parse gives "".
    """
    tree = parse(without_docstring(code, entry_point))
    try:
        return ast.unparse(tree).strip("\n") + "\n" if tree else ""
    except (ValueError, RecursionError):
        return ""


def _number_of_edits(draw: random.Random, max_edits: int) -> int:
    n = 1
    while n < max_edits and draw.random() < 0.5:
        n += 1
    return n


class _Mutants:
    """A cache of the mutants of programs."""

    def __init__(self, entry_point: str, weights: Mapping[str, float]) -> None:
        self._entry_point, self._weights = entry_point, weights
        self._known: dict[str, dict[str, list[Mutant]]] = {}

    def draw(self, source: str, draw: random.Random) -> Mutant | None:
        """Draw an operator by its weight, then one of its mutants of ``source``. Return None if there is none."""
        if source not in self._known:
            by_operator: dict[str, list[Mutant]] = {}
            for mutant in mutants_of(source, self._entry_point):
                by_operator.setdefault(mutant.operator, []).append(mutant)
            self._known[source] = by_operator
        mutants = self._known[source]
        weights = [self._weights.get(operator, 1.0) for operator in mutants]
        if not any(weights):
            return None
        [operator] = draw.choices(list(mutants), weights)
        return draw.choice(mutants[operator])


def published(task: Task, wrong: str) -> list[Candidate]:
    """Return the published ``wrong`` program as the task's only candidate, or none if no public check could show its failure."""
    if not task.public:
        return []
    code = without_docstring(wrong, task.entry_point).strip("\n") + "\n"
    return [Candidate(task, HUMANEVALFIX, HUMANEVALFIX, code)]


def without_docstring(source: str, entry_point: str) -> str:
    """Return ``source`` without the entry point's docstring, which would only repeat the task's statement."""
    tree = parse(source)
    function = function_named(tree, entry_point) if tree else None
    if function is None:
        return source
    texts = [node for node in function.body if _is_text(node)]
    if len(texts) == len(function.body):
        return source
    lines = source.splitlines(keepends=True)
    for node in texts:
        before = lines[node.lineno - 1].encode()[: node.col_offset]
        after = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset :]
        # Whole lines are removed, so a string that shares its line with other code stays.
        if not before.strip() and not after.strip():
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "".join(lines)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def find_bugs(
    candidates: Mapping[str, Sequence[Candidate]], runner: TestRunner, *, per_task: int = 1, limit: int = 0
) -> list[Bug]:
    """Return the first of each task's candidates that are bugs, at most ``per_task``, in the order of the tasks.

    ``candidates`` are given by task id. A ``limit`` above 0 is the largest number of bugs in all: only as many tasks are examined
    as this takes, spread evenly over the set. A reference that fails a public check gives no bugs. Raises SandboxError if programs
    cannot be tested.
    """
    ids = list(candidates)
    by_task: dict[str, list[Bug]] = {}
    for batch in _batches(ids, -(-limit // per_task)):
        missing = limit - sum(map(len, by_task.values()))
        if limit and missing <= 0:
            break
        by_task |= _find_in([candidates[id_] for id_ in batch], runner, per_task)
    bugs = [bug for id_ in ids for bug in by_task.get(id_, [])]
    return bugs[:limit] if limit else bugs


def _batches(ids: Sequence[str], size: int) -> list[list[str]]:
    """Return the ids in batches of at most ``size``: first ids that are spread evenly over all, then those in between.

    A size of 0 gives one batch with all ids.
    """
    if not size or size >= len(ids):
        return [list(ids)]
    steps = -(-len(ids) // size)
    first = [ids[i * len(ids) // size] for i in range(size)]
    rest = [id_ for id_ in ids if id_ not in first]
    return [first, *(rest[i::steps] for i in range(steps))]


@dataclass
class _TaskSearch:
    """The search for the bugs of one task."""

    waiting: list[Candidate]
    bugs: list[Bug] = field(default_factory=list)
    slow: list[Bug] = field(default_factory=list)
    """Bugs that ran into a limit."""

    def next(self, wanted: int) -> list[Candidate]:
        """Remove the candidates to run next from those that wait, and return them."""
        batch = self.waiting[: wanted - len(self.bugs)]
        self.waiting = self.waiting[len(batch) :]
        return batch

    def take(self, bug: Bug) -> None:
        outcomes = {bug.public.outcome, bug.hidden.outcome}
        if bug.public.passed or bug.hidden.passed or outcomes & (SUSPICIOUS | _NO_PROGRAM):
            return
        (self.slow if outcomes & _LIMITS else self.bugs).append(bug)


def _find_in(candidates: Sequence[Sequence[Candidate]], runner: TestRunner, per_task: int) -> dict[str, list[Bug]]:
    """Test the next candidates of all tasks side by side until each task has its bugs or no candidate is left.

    Returns the bugs by task id.
    """
    by_task = [list(of_task) for of_task in candidates if of_task]
    sound = _with_passing_reference([of_task[0].task for of_task in by_task if not of_task[0].parent], runner)
    searches = [_TaskSearch(of_task) for of_task in by_task if of_task[0].parent or of_task[0].task.id in sound]
    while wave := [(search, candidate) for search in searches for candidate in search.next(per_task)]:
        for (search, candidate), (public, hidden) in zip(wave, _tested([c for _, c in wave], runner), strict=True):
            search.take(Bug(candidate, public, hidden))
    chosen = [[*search.bugs, *search.slow][:per_task] for search in searches]
    return {bugs[0].candidate.task.id: bugs for bugs in chosen if bugs}


def _with_passing_reference(tasks: Sequence[Task], runner: TestRunner) -> set[str]:
    """Return the ids of the tasks whose reference passes the public checks.

    Where the reference fails one, a right program fails it as well, and the failure shows no bug.
    """
    references = [Candidate(task, "reference", "", task.reference) for task in tasks]
    verdicts = _tested(references, runner)
    return {reference.task.id for reference, (public, _) in zip(references, verdicts, strict=True) if public.passed}


def _tested(candidates: Sequence[Candidate], runner: TestRunner) -> list[tuple[Verdict, Verdict]]:
    """Return the verdicts of each candidate on its public and on its hidden checks."""
    futures = [
        [domain_of(c.task.domain).judge(c.code, c.task, checks, runner) for checks in (c.task.public, c.task.hidden)]
        for c in candidates
    ]
    return [
        (require_tested(public.result(), candidate.id), require_tested(hidden.result(), candidate.id))
        for candidate, (public, hidden) in zip(candidates, futures, strict=True)
    ]
