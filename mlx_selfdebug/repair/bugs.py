"""Make wrong programs for tasks, and keep those whose failure can be shown.

The wrong programs come from one of three functions:

- ``mutated`` puts one bug into a task's reference, for an evaluation that reports the kinds of bugs one by one. A kind of bug is an
  operator of ``auditing/mutants.py``, such as "comparison", which turns ``<`` into ``<=``.
- ``stacked`` puts a few bugs into right code, one after the other, for training.
- ``published`` takes the wrong program of a published set.

A seed and the task's id decide which operators are applied, and where.

``find_bugs`` runs these candidates and keeps those that fail a public check and a hidden one. Programs that cannot be loaded and
those whose outcome is suspicious are not bugs. A program that runs into a limit is kept only if its task has too few other bugs.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from mlx_selfdebug.auditing.mutants import MUTABLE, Mutant, mutants_of
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.python_source import function_named
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.projects.source import lines_of
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
"""The outcomes of a program that cannot be loaded, or that lacks the function of the task."""
_LIMITS: frozenset[Outcome] = frozenset({"timeout_wall", "timeout_cpu", "memory", "output_limit", "crashed"})
"""The outcomes of a program that ran into a limit."""


@dataclass(frozen=True)
class Candidate:
    """A program that may be wrong."""

    task: Task
    name: str
    """A name that is unique among the candidates made from the same program."""
    operator: str
    """The operator that made the candidate; several operators are joined by "+"."""
    code: str
    """The program."""
    parent: str = ""
    """The id of the attempt whose code was changed, or "" if the task's reference was changed."""

    @property
    def id(self) -> str:
        """A readable id, made of the task's id and the candidate's name.

        For a candidate of ``mutated`` it names the same program in every run. "HumanEval/3#constant-1" is the first mutant that the
        operator "constant" makes of the reference of HumanEval/3.
        """
        return f"{self.task.id}#{self.name}"


@dataclass(frozen=True)
class Bug:
    """A candidate that failed a public check and a hidden one, with its verdicts on both."""

    candidate: Candidate
    public: Verdict
    hidden: Verdict

    def to_attempt(self, arm: str, task_id: str, sample: int = 0) -> Attempt:
        """Return the wrong program as an attempt of the arm ``arm``, from which other attempts can be made. It took no tokens."""
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
    """Return programs that differ from the task's reference by one change, in the order in which they should be tried.

    The operators take turns in a random order, so that the many changes of constants do not crowd out the rest. There are no
    candidates for a task without public checks, or in a domain whose programs the operators cannot change.
    """
    if task.domain not in MUTABLE or not task.public:
        return []
    by_operator: dict[str, list[Candidate]] = {}
    for mutant in mutants_of(without_docstring(task.reference, task.entry_point), task.entry_point):
        candidates = by_operator.setdefault(mutant.operator, [])
        name = f"{mutant.operator.replace(' ', '-')}-{len(candidates) + 1}"
        candidates.append(Candidate(task, name, mutant.operator, mutant.source.strip("\n") + "\n"))
    rng = random.Random(f"{seed}:{task.id}:bugs")
    operators = sorted(by_operator)
    rng.shuffle(operators)
    for operator in operators:
        rng.shuffle(by_operator[operator])
    turns = zip_longest(*(by_operator[operator] for operator in operators))
    return [candidate for turn in turns for candidate in turn if candidate is not None][:MAX_CANDIDATES]


def stacked(
    task: Task, code: str, parent: str, *, seed: int, max_edits: int, n: int, weights: Mapping[str, float] | None = None
) -> list[Candidate]:
    """Return up to ``n`` different programs, each of them one to ``max_edits`` edits away from ``code``, which is right.

    Each further edit is half as likely as the one before it. There are no candidates for a task without public checks, in a domain
    whose programs the operators cannot change, or for code that does not parse.

    Args:
        task: the task that ``code`` solves.
        code: the right program.
        parent: the id of the attempt that ``code`` comes from, or "" for a reference.
        seed: the seed of the random choices.
        max_edits: the largest number of edits.
        n: the largest number of programs.
        weights: the relative frequency with which each operator is drawn, among those that can be applied to the code; 1 for an
            operator that is not given.
    """
    right = plain_source(code, task.entry_point)
    if task.domain not in MUTABLE or not task.public or not right:
        return []
    rng = random.Random(f"{seed}:{task.id}:{parent}:stacked")
    mutants = _Mutants(task.entry_point, weights or {})
    by_source: dict[str, Candidate] = {}
    # Twice as many draws as programs, because some draws repeat a program or end where they began.
    for _ in range(2 * n):
        operators, source = _with_edits(right, mutants, max_edits, rng)
        if operators and source != right and len(by_source) < n:
            name = f"stacked-{len(by_source) + 1}"
            by_source.setdefault(source, Candidate(task, name, "+".join(operators), source, parent))
    return list(by_source.values())


def _with_edits(source: str, mutants: _Mutants, max_edits: int, rng: random.Random) -> tuple[list[str], str]:
    """Apply one to ``max_edits`` operators, one after the other. Return their names and the changed program.

    If no operator can be applied any more, there are fewer operators, or none.
    """
    n_edits = 1
    while n_edits < max_edits and rng.random() < 0.5:
        n_edits += 1
    operators: list[str] = []
    for _ in range(n_edits):
        mutant = mutants.draw(source, rng)
        if mutant is None:
            break
        operators.append(mutant.operator)
        source = mutant.source
    return operators, source.strip("\n") + "\n"


class _Mutants:
    """Draws mutants of programs, and computes the mutants of each program only once."""

    def __init__(self, entry_point: str, weights: Mapping[str, float]) -> None:
        self._entry_point, self._weights = entry_point, weights
        self._by_source: dict[str, dict[str, list[Mutant]]] = {}
        """The mutants of each program, by the operator that made them."""

    def draw(self, source: str, rng: random.Random) -> Mutant | None:
        """Draw an operator by its weight, then one of its mutants of ``source``. Return None if there is none."""
        if source not in self._by_source:
            by_operator: dict[str, list[Mutant]] = {}
            for mutant in mutants_of(source, self._entry_point):
                by_operator.setdefault(mutant.operator, []).append(mutant)
            self._by_source[source] = by_operator
        mutants = self._by_source[source]
        weights = [self._weights.get(operator, 1.0) for operator in mutants]
        if not any(weights):
            return None
        [operator] = rng.choices(list(mutants), weights)
        return rng.choice(mutants[operator])


def plain_source(code: str, entry_point: str) -> str:
    """Return ``code`` in the layout of ``ast.unparse``, without comments and without the entry point's docstring.

    Bugs are put into code of this form, and their fix is written in this form as well, so that the bug is the only difference.
    Returns "" for code that does not parse, or that is nested too deeply.
    """
    tree = parse(without_docstring(code, entry_point))
    try:
        return ast.unparse(tree).strip("\n") + "\n" if tree else ""
    except (ValueError, RecursionError):
        # ast.unparse of Python 3.11 raises ValueError for some f-strings.
        return ""


def published(task: Task, wrong: str) -> list[Candidate]:
    """Return the published ``wrong`` program as the task's only candidate, or none if no public check could show its failure."""
    if not task.public:
        return []
    code = without_docstring(wrong, task.entry_point).strip("\n") + "\n"
    return [Candidate(task, HUMANEVALFIX, HUMANEVALFIX, code)]


def without_docstring(source: str, entry_point: str) -> str:
    """Return ``source`` without the entry point's docstring, which would only repeat the task's statement.

    Other strings that stand alone in the body of the entry point are removed as well. ``source`` is returned unchanged if it does
    not parse, if it has no function ``entry_point``, or if nothing else would be left of the function's body.
    """
    tree = parse(source)
    function = function_named(tree, entry_point) if tree else None
    if function is None:
        return source
    strings = [node for node in function.body if _is_string_statement(node)]
    if len(strings) == len(function.body):
        return source
    lines = lines_of(source)
    for node in strings:
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before = lines[first].encode()[: node.col_offset]
        after = lines[last].encode()[node.end_col_offset :]
        # Whole lines are removed, so a string that shares its line with other code stays. Emptied lines stay in the list, so that
        # the line numbers of the nodes remain right.
        if not before.strip() and not after.strip():
            lines[first : last + 1] = [""] * (last - first + 1)
    return "".join(lines)


def _is_string_statement(node: ast.stmt) -> bool:
    """Return whether ``node`` is a string that stands alone, as a docstring does."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def find_bugs(
    candidates: Mapping[str, Sequence[Candidate]], runner: TestRunner, *, per_task: int = 1, limit: int = 0
) -> list[Bug]:
    """Return the first candidates of each task that are bugs, at most ``per_task``, in the order of the tasks.

    A task whose reference fails a public check has no bugs. Raises SandboxError if programs cannot be tested.

    Args:
        candidates: the candidates of each task, by the task's id.
        runner: runs the programs.
        per_task: the largest number of bugs of a task.
        limit: the largest number of bugs in all; 0 for no limit. With a limit, only as many tasks are examined as it takes to find
            that many bugs, and these tasks are spread evenly over the set.
    """
    ids = list(candidates)
    by_task: dict[str, list[Bug]] = {}
    tasks_per_batch = -(-limit // per_task)  # rounded up
    for batch in _batches(ids, tasks_per_batch):
        if limit and sum(map(len, by_task.values())) >= limit:
            break
        by_task |= _find_in([candidates[id_] for id_ in batch], runner, per_task)
    bugs = [bug for id_ in ids for bug in by_task.get(id_, [])]
    return bugs[:limit] if limit else bugs


def _batches(ids: Sequence[str], size: int) -> list[list[str]]:
    """Return the ids in batches of at most ``size``: first ids that are spread evenly over all, then those in between.

    A size of 0 gives one batch with all ids.

    >>> _batches(["a", "b", "c", "d", "e", "f"], 2)
    [['a', 'd'], ['b', 'f'], ['c'], ['e']]
    """
    if not size or size >= len(ids):
        return [list(ids)]
    n_batches = -(-len(ids) // size)  # rounded up
    first = [ids[i * len(ids) // size] for i in range(size)]
    rest = [id_ for id_ in ids if id_ not in first]
    return [first, *(rest[i::n_batches] for i in range(n_batches))]


@dataclass
class _TaskSearch:
    """The search for the bugs of one task."""

    waiting: list[Candidate]
    """Candidates that were not run yet."""
    bugs: list[Bug] = field(default_factory=list)
    """Bugs that did not run into a limit."""
    limit_bugs: list[Bug] = field(default_factory=list)
    """Bugs that ran into a limit."""

    def next(self, n_bugs: int) -> list[Candidate]:
        """Take as many candidates as are needed to have ``n_bugs`` bugs, if all of them are bugs, and return them."""
        batch = self.waiting[: n_bugs - len(self.bugs)]
        self.waiting = self.waiting[len(batch) :]
        return batch

    def add_if_bug(self, candidate: Candidate, public: Verdict, hidden: Verdict) -> None:
        """Add a candidate that was run to the bugs, if its verdicts on the public and hidden checks show that it is one."""
        outcomes = {public.outcome, hidden.outcome}
        if public.passed or hidden.passed or outcomes & (SUSPICIOUS | _NO_PROGRAM):
            return
        (self.limit_bugs if outcomes & _LIMITS else self.bugs).append(Bug(candidate, public, hidden))


def _find_in(groups: Sequence[Sequence[Candidate]], runner: TestRunner, per_task: int) -> dict[str, list[Bug]]:
    """Test the next candidates of all tasks side by side until each task has its bugs or no candidate is left.

    ``groups`` holds the candidates of one task each. Returns the bugs by task id.
    """
    groups = [group for group in groups if group]
    # Code that comes from an attempt (``parent``) has passed its checks already, unlike a reference.
    sound = _with_passing_reference([group[0].task for group in groups if not group[0].parent], runner)
    searches = [_TaskSearch(list(group)) for group in groups if group[0].parent or group[0].task.id in sound]
    while wave := [(search, candidate) for search in searches for candidate in search.next(per_task)]:
        verdicts = _tested([candidate for _, candidate in wave], runner)
        for (search, candidate), (public, hidden) in zip(wave, verdicts, strict=True):
            search.add_if_bug(candidate, public, hidden)
    chosen = [[*search.bugs, *search.limit_bugs][:per_task] for search in searches]
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
