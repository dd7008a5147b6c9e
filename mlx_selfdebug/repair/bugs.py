"""Wrong programs for tasks: bugs put into right code, or published ones, of which those are kept that fail a public check.

A bug is put in by one of the operators of ``auditing/mutants.py`` (``mutated``, for an evaluation that reports operators one by
one), or by a few of them one after the other (``stacked``, to learn from). A seed and the task's id decide which one,
and where. Programs that cannot be loaded, that do what no honest program does or whose hidden checks pass are no bugs; one that runs into a
limit is taken only where no other is found.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlx_selfdebug.auditing.mutants import Mutant, mutants_of
from mlx_selfdebug.auditing.verify import reason_of
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.python_source import function_named, parse
from mlx_selfdebug.errors import SandboxError
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import SUSPICIOUS, Outcome, Verdict

MOST_TRIED = 16
"""Candidates that are run for one task at most."""
HUMANEVALFIX = "humanevalfix"
_NO_PROGRAM: frozenset[Outcome] = frozenset({"load_error", "missing_entry"})
_LIMITS: frozenset[Outcome] = frozenset({"timeout_wall", "timeout_cpu", "memory", "output_limit", "crashed"})


@dataclass(frozen=True)
class Candidate:
    """A program that may be wrong.

    ``name`` is unique among those of its ``task``. ``operator`` says what made it: the operators' names joined by "+" where there
    are several. ``parent`` is the id of the attempt whose code it was made of, "" for the task's reference.
    """

    task: Task
    name: str
    operator: str
    code: str
    parent: str = ""

    @property
    def id(self) -> str:
        """Readable, and the same program whichever run drew it: "HumanEval/3#constant-1" is the first constant that was changed."""
        return f"{self.task.id}#{self.name}"


@dataclass(frozen=True)
class Bug:
    """A candidate that failed a public check and a hidden one."""

    candidate: Candidate
    public: Verdict
    hidden: Verdict

    def to_attempt(self, arm: str, task_id: str, sample: int = 0) -> Attempt:
        """Return the failed program as an attempt that others are made of. It was decoded by nobody and took no tokens."""
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
    """Return bugs to put into the reference, in the order in which they are to be tried; none for a domain without operators.

    Every operator that the reference gives work to is as likely as any other, so that the many constants do not crowd out the rest.
    """
    if task.domain != "python" or not task.public:
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
        for operator, number, mutant in turns[:MOST_TRIED]
    ]  # fmt: skip


def stacked(
    task: Task, code: str, parent: str, *, seed: int, max_edits: int, n: int, weights: Mapping[str, float] | None = None
) -> list[Candidate]:
    """Return up to ``n`` different programs that are one to ``max_edits`` edits away from ``code``, which is right.

    ``weights`` say how often an operator is drawn where the code gives it work; without them all are drawn alike. Each further edit
    is half as likely as the one before it. None for a domain without operators, or code that does not parse.
    """
    right = plain_source(code, task.entry_point)
    if task.domain != "python" or not task.public or not right:
        return []
    draw = random.Random(f"{seed}:{task.id}:{parent}:stacked")
    mutants = _Mutants(task.entry_point, weights or {})
    drawn: dict[str, Candidate] = {}
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
    """Return ``code`` as bugs are put into it: laid out by ``ast.unparse``, without comments and the entry point's docstring.

    What a bug is to be mended to is written in the same way, so that the bug is all that differs. "" if the code does not parse.
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
    """Mutants of programs, made once for each program."""

    def __init__(self, entry_point: str, weights: Mapping[str, float]) -> None:
        self._entry_point, self._weights = entry_point, weights
        self._known: dict[str, dict[str, list[Mutant]]] = {}

    def draw(self, source: str, draw: random.Random) -> Mutant | None:
        """Draw an operator by its weight, then one of its mutants; None if there are none."""
        if source not in self._known:
            by_operator: dict[str, list[Mutant]] = {}
            for mutant in mutants_of(source, self._entry_point):
                by_operator.setdefault(mutant.operator, []).append(mutant)
            self._known[source] = by_operator
        found = self._known[source]
        weights = [self._weights.get(operator, 1.0) for operator in found]
        if not any(weights):
            return None
        [operator] = draw.choices(list(found), weights)
        return draw.choice(found[operator])


def published(task: Task, wrong: str) -> list[Candidate]:
    """The wrong program that a set gives for ``task``; none where it has no public check that could tell."""
    if not task.public:
        return []
    code = without_docstring(wrong, task.entry_point).strip("\n") + "\n"
    return [Candidate(task, HUMANEVALFIX, HUMANEVALFIX, code)]


def without_docstring(source: str, entry_point: str) -> str:
    """``source`` without the entry point's docstring, which would say the task's statement once more."""
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
        if not before.strip() and not after.strip():
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "".join(lines)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def find_bugs(
    candidates: Mapping[str, Sequence[Candidate]], runner: TestRunner, *, per_task: int = 1, limit: int = 0
) -> list[Bug]:
    """Return the first of each task's candidates that are bugs, at most ``per_task``, in the order of the tasks.

    With a ``limit`` as many tasks as it takes are looked at, evenly spread. Tasks whose reference fails a public check have no
    bugs. Raises SandboxError if programs cannot be tested.
    """
    ids = list(candidates)
    found: dict[str, list[Bug]] = {}
    for batch in _batches(ids, -(-limit // per_task)):
        missing = limit - sum(map(len, found.values()))
        if limit and missing <= 0:
            break
        found |= _find_in([candidates[id_] for id_ in batch], runner, per_task)
    bugs = [bug for id_ in ids for bug in found.get(id_, [])]
    return bugs[:limit] if limit else bugs


def _batches(ids: Sequence[str], size: int) -> list[list[str]]:
    """Evenly spread ids first, then those between them; all at once for 0."""
    if not size or size >= len(ids):
        return [list(ids)]
    steps = -(-len(ids) // size)
    first = [ids[i * len(ids) // size] for i in range(size)]
    rest = [id_ for id_ in ids if id_ not in first]
    return [first, *(rest[i::steps] for i in range(steps))]


@dataclass
class _Looked:
    """What was found for one task; ``slow`` are bugs that ran into a limit."""

    waiting: list[Candidate]
    bugs: list[Bug] = field(default_factory=list)
    slow: list[Bug] = field(default_factory=list)

    def next(self, wanted: int) -> list[Candidate]:
        """Those to run now, taken from those that wait."""
        now = self.waiting[: wanted - len(self.bugs)]
        self.waiting = self.waiting[len(now) :]
        return now

    def take(self, bug: Bug) -> None:
        outcomes = {bug.public.outcome, bug.hidden.outcome}
        if bug.public.passed or bug.hidden.passed or outcomes & (SUSPICIOUS | _NO_PROGRAM):
            return
        (self.slow if outcomes & _LIMITS else self.bugs).append(bug)


def _find_in(candidates: Sequence[Sequence[Candidate]], runner: TestRunner, per_task: int) -> dict[str, list[Bug]]:
    """All tasks' next candidates are tested side by side until each task has its bugs or nothing is left to try."""
    asked = [list(of_task) for of_task in candidates if of_task]
    sound = _references_pass([of_task[0].task for of_task in asked if not of_task[0].parent], runner)
    looked = [_Looked(of_task) for of_task in asked if of_task[0].parent or of_task[0].task.id in sound]
    while wave := [(one, candidate) for one in looked for candidate in one.next(per_task)]:
        for (one, candidate), (public, hidden) in zip(wave, _tested([c for _, c in wave], runner), strict=True):
            one.take(Bug(candidate, public, hidden))
    chosen = [[*one.bugs, *one.slow][:per_task] for one in looked]
    return {bugs[0].candidate.task.id: bugs for bugs in chosen if bugs}


def _references_pass(tasks: Sequence[Task], runner: TestRunner) -> set[str]:
    """Where the reference itself fails a public check, so does a program that is right."""
    references = [Candidate(task, "reference", "", task.reference) for task in tasks]
    return {
        one.task.id for one, (public, _) in zip(references, _tested(references, runner), strict=True) if public.passed
    }


def _tested(candidates: Sequence[Candidate], runner: TestRunner) -> list[tuple[Verdict, Verdict]]:
    """Verdicts on public and hidden checks."""
    futures = [
        [domain_of(one.task.domain).judge(one.code, one.task, checks, runner) for checks in (one.task.public, one.task.hidden)]
        for one in candidates
    ]  # fmt: skip
    return [
        (_certain(public.result(), one), _certain(hidden.result(), one))
        for one, (public, hidden) in zip(candidates, futures, strict=True)
    ]


def _certain(verdict: Verdict, candidate: Candidate) -> Verdict:
    if verdict.outcome == "infrastructure":
        raise SandboxError(
            f"the tests of {candidate.id} could not be run: {reason_of(verdict)}",
            hint="look at the task with: mlx-selfdebug tasks check SET; then run the same command again",
        )
    return verdict
