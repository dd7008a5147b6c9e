"""Search for small edits of suspicious functions that make the failing tests pass.

The model reads each function as an answer to what stands in for its statement. Its own token edits and the operators' small edits
are then tried in one order over several functions, and no token is decoded. A function that would take too long to read is only
edited by the operators, without the model. Edits that were not reached remain for a later search.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import replace

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import UnreadableError
from mlx_selfdebug.fixing.case import Case, Spent
from mlx_selfdebug.fixing.judging import Judge, Proposal
from mlx_selfdebug.repair.asking import Asking
from mlx_selfdebug.repair.edits.candidates import Candidate, candidates, worthwhile
from mlx_selfdebug.repair.edits.hints import hints_of
from mlx_selfdebug.repair.edits.search import EditSearch
from mlx_selfdebug.repair.edits.searching import MAX_COMPARED
from mlx_selfdebug.repair.reading import Readings, unread
from mlx_selfdebug.sampling.language_model import Decoder, LanguageModel

MIN_SUSPICION = 1e-3
SUSPICION_WEIGHT = 2.0
"""How many nats an edit loses per nat by which its function is less suspicious than another."""
READING_SHARE = 0.12
"""The largest share of the time that is left which the reading of one function may be expected to take."""
TOKENS_PER_S = 100.0
"""The speed of reading that is assumed on the CPU until it is known. Elsewhere the first function is always read."""
UNREAD_PENALTY = 4.0
"""How many nats the edits of a function that was not read lose against those of one that was.

The model finds most edits of a function that it reads unlikely, so they lose something, too. The number was set by hand.
"""
Tell = Callable[[str], None]
_Rated = tuple[Candidate, Case]


class Editing:
    """The search for edits of functions. ``asking`` knows the tasks of all of them."""

    def __init__(
        self,
        model: LanguageModel,
        asking: Asking,
        judge: Judge,
        *,
        further: int,
        deadline: float,
        tell: Tell,
        spent: Spent,
    ) -> None:
        self._model, self._asking, self._judge = model, asking, judge
        self._further, self._deadline, self._tell, self._spent = further, deadline, tell, spent
        self._left: list[Iterator[_Rated]] = []
        self._read_tokens, self._read_s = 0, 0.0

    def read(self, cases: Sequence[Case], decoder: Decoder) -> None:
        """Read some functions, unless that would take too much of the time that is left."""
        begin = time.monotonic()
        for case in cases:
            self._tell(f"reading {case.function.id}")
            self._read(case, decoder)
        self._spent.add("reading", time.monotonic() - begin)

    def tried(self, cases: Sequence[Case], tries: int, decoder: Decoder) -> list[Proposal]:
        """Try the edits of some functions in one order, and return those that pass, the likeliest first."""
        ordered = _in_order([self._candidates(case) for case in cases])
        self._left.append(ordered)
        return self._searched(ordered, tries, decoder)

    def late(self, tries: int, decoder: Decoder) -> Iterator[list[Proposal]]:
        """Try what the earlier searches have left, in one order, and yield what passes, some at a time."""
        ordered = _in_order(self._left)
        end = self._judge.n_tries + tries
        while self._judge.n_tries < end and (first := next(ordered, None)) is not None:
            ordered = heapq.merge([first], ordered, key=_rank)
            yield self._searched(ordered, end - self._judge.n_tries, decoder)
            if time.monotonic() >= self._deadline:
                return

    def _searched(self, ordered: Iterator[_Rated], tries: int, decoder: Decoder) -> list[Proposal]:
        proposals: dict[str, tuple[Proposal, Case]] = {}
        begin, n_before = time.monotonic(), self._judge.n_tries
        search = EditSearch(
            self._until_deadline(ordered, proposals),
            lambda code: self._judge.submit(proposals[code][0]),
            tries,
            further=self._further,
        )
        while not search.ended.done():
            wait([search.ended], timeout=1.0)
            self._tell(f"trying edits: {search.n_tries}")
        search.ended.result()
        self._spent.add("trying edits", time.monotonic() - begin)
        self._spent.tried["edits"] = self._spent.tried.get("edits", 0) + self._judge.n_tries - n_before
        return self._compared([proposals[candidate.code] for candidate in search.found], decoder)

    def _compared(self, found: Sequence[tuple[Proposal, Case]], decoder: Decoder) -> list[Proposal]:
        """Return the proposals of a search. Of the first few, the likeliest whole program comes first."""
        if len(found) < 2:
            return [proposal for proposal, _ in found]
        readings, compared = Readings(self._model, decoder), []
        for proposal, case in found[:MAX_COMPARED]:
            gain = 0.0
            if case.reading is not None:
                before = float(case.reading.reading.log_likelihood.sum())
                gain = readings.log_likelihoods(case.reading, [proposal.program])[0] - before
            compared.append(replace(proposal, likelihood=gain))
        others = [proposal for proposal, _ in found[MAX_COMPARED:]]
        return sorted(compared, key=lambda proposal: -proposal.likelihood) + others

    def _candidates(self, case: Case) -> Iterator[_Rated]:
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
        self, ordered: Iterator[_Rated], proposals: dict[str, tuple[Proposal, Case]]
    ) -> Iterator[Candidate]:
        """Yield candidates until the time is used up, and note the proposal that each stands for."""
        while time.monotonic() < self._deadline and (rated := next(ordered, None)) is not None:
            candidate, case = rated
            if candidate.code not in proposals:
                proposals[candidate.code] = Proposal(case.function, candidate.code, "edits"), case
                yield candidate

    def _read(self, case: Case, decoder: Decoder) -> None:
        question, begin = self._asking.question(case.task), time.monotonic()
        n_tokens = len(question.ids) + len(self._model.spans(case.function.program)[0])
        try:
            if self._expected_s(n_tokens) > READING_SHARE * (self._deadline - begin):
                case.unread = unread(self._model, case.task, case.function.program)
                return
            case.reading = Readings(self._model, decoder).read(
                case.task, case.function.program, question.prompt, question.ids, question.breaks
            )
        except UnreadableError:
            return
        self._spent.read_tokens += len(case.reading.ids)
        self._read_tokens += n_tokens
        self._read_s += time.monotonic() - begin

    def _expected_s(self, n_tokens: int) -> float:
        """Return how many seconds it may take to read so many tokens."""
        if self._read_tokens:
            return n_tokens * self._read_s / self._read_tokens
        from mlx_selfdebug.models.backend import device_name

        return n_tokens / TOKENS_PER_S if device_name() == "cpu" else 0.0


def _in_order(ordered: Iterable[Iterator[_Rated]]) -> Iterator[_Rated]:
    return heapq.merge(*ordered, key=_rank)


def _rank(rated: _Rated) -> float:
    return -rated[0].score
