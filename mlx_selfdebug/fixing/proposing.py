"""Propose other versions of suspicious functions, the cheapest first: edits, lines, forks, repairs, drafts.

The model reads each function as an answer to what stands in for its statement. Its own token edits and the operators' small edits
are then tried in one order over all functions, and no token is decoded. After that the model writes: single lines and whole rests
at the places that surprised it, repairs that are shown the facts, and fresh drafts. What is proposed here passes the tests that
failed, and nothing more is known of it.
"""

from __future__ import annotations

import ast
import heapq
import math
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.python_source import parse
from mlx_selfdebug.errors import UnreadableError
from mlx_selfdebug.fixing.judging import Judge, Proposal
from mlx_selfdebug.fixing.locating import Suspect
from mlx_selfdebug.fixing.source import Function
from mlx_selfdebug.repair.asking import Asked, Asking, Decoding
from mlx_selfdebug.repair.edits.candidates import Candidate, candidates, worthwhile
from mlx_selfdebug.repair.edits.hints import hints_of
from mlx_selfdebug.repair.edits.search import EditSearch
from mlx_selfdebug.repair.edits.searching import MAX_COMPARED
from mlx_selfdebug.repair.judging import tidied_by
from mlx_selfdebug.repair.policies import Move
from mlx_selfdebug.repair.reading import ProgramReading, Readings, unread
from mlx_selfdebug.sampling.language_model import Decoder, LanguageModel, open_decoder
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

ARM = "fix"
MIN_SUSPICION = 1e-3
SUSPICION_WEIGHT = 2.0
"""How many nats an edit loses per nat by which its function is less suspicious than another."""
READING_SHARE = 0.12
"""The largest share of the time that is left which the reading of one function may be expected to take."""
UNREAD_PENALTY = 4.0
"""How many nats the edits of a function that was not read lose against those of one that was: what an edit loses on average when
its function is read."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much is tried."""

    waves: tuple[int, ...] = (1, 2, 3, 6)
    """The numbers of functions that are searched together: the most suspicious one first, then the next two, and so on."""
    tries: int = 500
    """The largest number of edits that are run for the functions of one wave."""
    further: int = 16
    """The number of edits that are still tried after the first one that passes, to have a choice."""
    lines: int = 3
    """The number of single lines that are written anew in each function."""
    forks: int = 2
    """The number of places from which the rest of each of the ``written`` most suspicious functions is written anew."""
    written: int = 2
    """The number of functions that are written anew, as a whole or from a place on."""
    repairs: int = 4
    """The number of repairs of each of them that are shown the facts."""
    drafts: int = 4
    """The number of fresh drafts of each of them."""
    temperature: float = 0.8
    """The temperature of all repairs and drafts but the first, which is greedy."""
    min_p: float = 0.05
    max_tokens: int = 400
    """The largest number of tokens in one completion."""


@dataclass
class Case:
    """A suspicious function with its task and the facts of its failing tests."""

    suspect: Suspect
    task: Task
    verdict: Verdict
    reading: ProgramReading | None = None
    unread: ProgramReading | None = None
    """What stands for the reading where it would take too long."""

    @property
    def function(self) -> Function:
        return self.suspect.function

    @property
    def given(self) -> Attempt:
        """Return the program that fails, as the attempt that others are made from."""
        return Attempt(
            self.task.id, ARM, 0, 0, "", "", "", self.function.program, self.verdict, self.verdict, 0, 0, 0, "given", kind="given"
        )  # fmt: skip


@dataclass
class Spent:
    """What the proposals have cost."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds by step."""
    decoded_tokens: int = 0
    read_tokens: int = 0
    tried: dict[str, int] = field(default_factory=dict)
    """The number of programs that were tested, by how they were made."""

    def add(self, step: str, seconds: float) -> None:
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds


class Proposing:
    """The search for versions of ``cases``, the most suspicious first, that pass the tests which fail."""

    def __init__(
        self,
        model: LanguageModel,
        cases: Sequence[Case],
        judge: Judge,
        effort: Effort,
        *,
        budget_bytes: int,
        reserved_bytes: int,
        deadline: float,
        tell: Tell,
        spent: Spent,
        seed: int = 0,
    ) -> None:
        self.spent = spent
        self._model, self._judge, self._effort, self._tell = model, judge, effort, tell
        self._cases = list(cases)
        self._deadline = deadline
        decoding = Decoding(effort.temperature, effort.min_p, effort.max_tokens, 16, budget_bytes, reserved_bytes)
        self._asking = Asking(model, [case.task for case in self._cases], decoding, seed, ARM)
        self._decoding = decoding
        self._decoder: Decoder | None = None
        self._read_tokens, self._read_s = 0, 0.0

    @property
    def is_over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() >= self._deadline

    def steps(self) -> Iterator[list[Proposal]]:
        """Yield, step by step, the proposals that pass the tests which failed, the most promising first; some steps yield none."""
        effort, start = self._effort, 0
        for size in effort.waves:
            cases = self._cases[start : start + size]
            if not cases or self.is_over:
                break
            yield self._edits(cases)
            lines = [(c, Move(0, 2 + k, c.given, by="line", place=k)) for k in range(effort.lines) for c in cases]
            yield self._written("line", lines)
            start += size
        yield from self._written_anew(self._cases[: effort.written])

    def _written_anew(self, cases: Sequence[Case]) -> Iterator[list[Proposal]]:
        """Have the model write the rests of functions, then repairs, then fresh drafts."""
        effort, n = self._effort, 2 + self._effort.lines
        forks = [(c, Move(0, n + k, c.given, by="fork", place=k)) for k in range(effort.forks) for c in cases]
        yield self._written("fork", forks)
        n += effort.forks
        temperatures = [0.0] + [None] * max(effort.repairs, effort.drafts)
        yield self._written(
            "repair", [(c, Move(0, n + k, c.given, temperatures[k])) for k in range(effort.repairs) for c in cases]
        )
        yield self._written(
            "draft", [(c, Move(1 + k, 0, None, temperatures[k])) for k in range(effort.drafts) for c in cases]
        )

    def _edits(self, cases: Sequence[Case]) -> list[Proposal]:
        """Try the edits of some functions in one order, and return those that pass, the likeliest first."""
        effort, begin = self._effort, time.monotonic()
        if not (effort.tries or effort.lines or effort.forks):
            return []
        decoder = self._open()
        for case in cases:
            self._tell(f"reading {case.function.id}")
            self._read(case, decoder)
        self.spent.add("reading", time.monotonic() - begin)
        if not effort.tries:
            return []
        ordered = heapq.merge(*map(self._candidates, cases), key=lambda pair: -pair[0].score)
        proposals: dict[str, Proposal] = {}
        begin, n_before = time.monotonic(), self._judge.n_tries
        search = EditSearch(
            self._until_deadline(ordered, proposals),
            lambda code: self._judge.submit(proposals[code]),
            self._effort.tries,
            further=self._effort.further,
        )
        while not search.ended.done():
            wait([search.ended], timeout=1.0)
            self._tell(f"trying edits: {search.n_tries}")
        search.ended.result()
        self.spent.add("trying edits", time.monotonic() - begin)
        self.spent.tried["edits"] = self.spent.tried.get("edits", 0) + self._judge.n_tries - n_before
        return self._compared([proposals[candidate.code] for candidate in search.found], cases, decoder)

    def _compared(self, found: Sequence[Proposal], cases: Sequence[Case], decoder: Decoder) -> list[Proposal]:
        """Return the first proposals of a search, the likeliest whole program first."""
        first = list(found[:MAX_COMPARED])
        if len(first) < 2:
            return first
        readings, of = Readings(self._model, decoder), {case.function.id: case.reading for case in cases}
        compared = []
        for proposal in first:
            reading, gain = of[proposal.function.id], 0.0
            if reading is not None:
                before = float(reading.reading.log_likelihood.sum())
                gain = readings.log_likelihoods(reading, [proposal.program])[0] - before
            compared.append(replace(proposal, likelihood=gain))
        return sorted(compared, key=lambda proposal: -proposal.likelihood)

    def _candidates(self, case: Case) -> Iterator[tuple[Candidate, Case]]:
        """Yield the edits of one function that are worth a run, the best first."""
        domain = domain_of("python")
        program = case.reading or case.unread
        if program is None:
            return
        penalty = SUSPICION_WEIGHT * math.log(max(case.suspect.suspicion, MIN_SUSPICION))
        penalty -= UNREAD_PENALTY if case.reading is None else 0.0
        hints = hints_of(case.task, case.verdict.failures)
        ordered = candidates(program, domain, hints, case.suspect.shares or None)
        for candidate in worthwhile(ordered, program, domain):
            if case.function.own_lines(candidate.code) is not None:
                yield replace(candidate, score=candidate.score + penalty), case

    def _until_deadline(
        self, ordered: Iterable[tuple[Candidate, Case]], proposals: dict[str, Proposal]
    ) -> Iterator[Candidate]:
        """Yield candidates until the time is used up, and note the proposal that each stands for."""
        for candidate, case in ordered:
            if self.is_over:
                return
            if candidate.code not in proposals:
                proposals[candidate.code] = _proposal(case, candidate)
                yield candidate

    def _written(self, by: str, moves: Sequence[tuple[Case, Move]]) -> list[Proposal]:
        """Have the model write, all moves in one batch, and return what passes. The first program that passes ends the batch."""
        if self.is_over or not moves:
            return []
        begin = time.monotonic()
        decoder, asked = self._open(), dict[int, tuple[Case, Asked]]()
        n_before = decoder.counts.decoded_tokens
        for case, move in moves:
            if move.by in ("line", "fork") and case.reading is None:
                continue
            request = self._asking.ask(case.task, move, attempts=(case.given,), program=case.reading)
            if isinstance(request, Asked):
                asked[decoder.submit(request.request)] = case, request
        passing = self._decoded(by, decoder, asked) if asked else []
        self.spent.decoded_tokens += decoder.counts.decoded_tokens - n_before
        if decoder.active or decoder.waiting:  # What is left of this batch would only hold up the next one.
            self._decoder = None
        self.spent.add(
            {"line": "writing lines", "fork": "writing forks"}.get(by, f"writing {by}s"), time.monotonic() - begin
        )
        return passing

    def _decoded(self, by: str, decoder: Decoder, asked: dict[int, tuple[Case, Asked]]) -> list[Proposal]:
        tests: dict[Future[Verdict], Proposal] = {}
        n_written = 0
        while (decoder.active or decoder.waiting) and not self.is_over:
            for completion in decoder.step():
                n_written += 1
                case, request = asked[completion.ticket]
                program = fitted(case.function, tidied_by(request, completion).code)
                if program is not None and program != case.function.program:
                    proposal = Proposal(case.function, program, by)
                    tests.setdefault(self._judge.submit(proposal), proposal)
            self._tell(f"writing {by}s: {n_written} of {len(asked)}")
            if any(future.done() and future.result().passed for future in tests):
                break
        wait(tests)
        self.spent.tried[by] = self.spent.tried.get(by, 0) + len(tests)
        return [proposal for future, proposal in tests.items() if future.result().passed]

    def _open(self) -> Decoder:
        if self._decoder is None:
            decoding = self._decoding
            self._decoder = open_decoder(
                self._model,
                budget_bytes=decoding.budget_bytes,
                reserved_bytes=decoding.reserved_bytes,
                max_rows=decoding.batch_size,
                max_row_tokens=self._asking.max_row_tokens,
            )
        return self._decoder

    def _read(self, case: Case, decoder: Decoder) -> None:
        """Read a function. If that would take too much of the time that is left, only its syntax is edited."""
        question, begin = self._asking.question(case.task), time.monotonic()
        n_tokens = len(question.ids) + len(self._model.spans(case.function.program)[0])
        expected_s = n_tokens * self._read_s / self._read_tokens if self._read_tokens else 0.0
        try:
            if expected_s > READING_SHARE * (self._deadline - begin):
                case.unread = unread(self._model, case.task, case.function.program)
                return
            case.reading = Readings(self._model, decoder).read(
                case.task, case.function.program, question.prompt, question.ids, question.breaks
            )
        except UnreadableError:
            return
        self.spent.read_tokens += len(case.reading.ids)
        self._read_tokens += n_tokens
        self._read_s += time.monotonic() - begin


def _proposal(case: Case, candidate: Candidate) -> Proposal:
    return Proposal(case.function, candidate.code, "edits")


def fitted(function: Function, code: str) -> str | None:
    """Return ``code`` as a version of ``function``: what it says of the function, at the function's own indentation.

    The decorators stay as they are, as does all that stands above the body if the parameters are the same. Returns None if the code
    does not hold the function.
    """
    tree, old = parse(code), function.node
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)] if tree else []
    node = next((n for n in nodes if n.name == old.name and type(n) is type(old)), None)
    if node is None:
        return None
    body, first = _body(code, node), old.body[0]
    if ast.dump(node.args) != ast.dump(old.args) or body is None or first.lineno <= old.lineno:
        return code.strip("\n") + "\n" if function.spliced(code) is not None else None
    lines = function.program.split("\n")
    line = lines[first.lineno - 1]
    indentation = line[: len(line) - len(line.lstrip())]
    program = (
        "\n".join([*lines[: _start(first) - 1], *(f"{indentation}{line}" if line else "" for line in body)]) + "\n"
    )
    return program if function.spliced(program) is not None else None


def _start(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _body(code: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str] | None:
    """Return the lines of a function's body without a docstring, moved to the left margin.

    Returns None if the body begins on the line of ``def``.
    """
    statements = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
    first, last = statements[0], statements[-1]
    if first.lineno <= node.lineno:
        return None
    return textwrap.dedent("\n".join(code.split("\n")[_start(first) - 1 : last.end_lineno])).split("\n")
