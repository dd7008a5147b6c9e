"""Search for small edits of suspicious functions that make the failing tests pass.

The model reads each function as an answer to the task that stands for it. Two kinds of edits are then tried, in one order over
several functions: the tokens that the model would rather have written, and the fixed small edits of the operators. No token is
decoded. A function that would take too long to read gets the operators' edits only. Edits that a search does not reach are kept for
a later search.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, replace

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import UnreadableError
from mlx_selfdebug.fixing.case import Case, Cost, Tell
from mlx_selfdebug.fixing.judging import Judge, Proposal
from mlx_selfdebug.repair.asking import Asking
from mlx_selfdebug.repair.edits.candidates import Candidate, candidates, worthwhile
from mlx_selfdebug.repair.edits.hints import hints_of
from mlx_selfdebug.repair.edits.search import EditSearch
from mlx_selfdebug.repair.edits.searching import MAX_COMPARED
from mlx_selfdebug.repair.reading import Readings, unread
from mlx_selfdebug.sampling.language_model import Decoder, LanguageModel

MIN_SUSPICION = 1e-3
"""The suspicion that is assumed for a function with less, so that its logarithm is finite."""
SUSPICION_WEIGHT = 2.0
"""The weight of the logarithm of a function's suspicion in the score of its edits, which is in nats."""
READING_SHARE = 0.12
"""A function is not read if this is expected to take more than this share of the time that is left."""
TOKENS_PER_S = 100.0
"""The speed of reading that is assumed on the CPU before anything was read. On a GPU the first function is always read."""
UNREAD_PENALTY = 4.0
"""The nats that the edits of an unread function lose against the edits of a function that was read.

The model finds most edits unlikely, which lowers their scores. The edits of an unread function have no such term, so they would
come first without the penalty. The number was set by hand.
"""


@dataclass(frozen=True)
class _FunctionEdit(Candidate):
    """An edited program of one of the functions. Its score includes the suspicion of the function."""

    case: Case
    """The case of the function."""

    @property
    def proposal(self) -> Proposal:
        """The edited function as it is to be tested."""
        return Proposal(self.case.function, self.code, "edits")


class Editing:
    """The search for edits of several functions.

    ``asking`` knows the tasks of all of these functions. After the first edit that passes, ``extra_tries`` more are run. Nothing
    new is tried after ``deadline``, which is a time of the monotonic clock.
    """

    def __init__(
        self,
        model: LanguageModel,
        asking: Asking,
        judge: Judge,
        *,
        extra_tries: int,
        deadline: float,
        tell: Tell,
        cost: Cost,
    ) -> None:
        self._model, self._asking, self._judge = model, asking, judge
        self._extra_tries, self._deadline, self._tell, self._cost = extra_tries, deadline, tell, cost
        self._leftovers: list[Iterator[_FunctionEdit]] = []
        self._read_tokens, self._read_s = 0, 0.0
        """The tokens read so far, prompts included, and the seconds that this took: the speed of reading."""

    def read(self, cases: Sequence[Case], decoder: Decoder) -> None:
        """Read the functions of ``cases``, except those that would take too much of the time that is left."""
        begin = time.monotonic()
        for case in cases:
            self._tell(f"reading {case.function.id}")
            self._read(case, decoder)
        self._cost.add_seconds("reading", time.monotonic() - begin)

    def search(self, cases: Sequence[Case], max_tries: int, decoder: Decoder) -> list[Proposal]:
        """Try the edits of ``cases`` in one order, and return those that pass, with the likeliest first."""
        ordered = _merge(self._edits(case) for case in cases)
        self._leftovers.append(ordered)
        return self._try(ordered, max_tries, decoder)

    def search_leftovers(self, max_tries: int, decoder: Decoder) -> Iterator[list[Proposal]]:
        """Try the edits that earlier searches have not reached, in one order. Yield those that pass, a few at a time."""
        ordered = _merge(self._leftovers)
        end = self._judge.n_tries + max_tries
        while self._judge.n_tries < end and (first := next(ordered, None)) is not None:
            ordered = heapq.merge([first], ordered, key=_rank)
            yield self._try(ordered, end - self._judge.n_tries, decoder)
            if time.monotonic() >= self._deadline:
                return

    def _read(self, case: Case, decoder: Decoder) -> None:
        """Read one function, or note that this would take too long. A function that cannot be read gets no edits."""
        question, begin = self._asking.question(case.task), time.monotonic()
        n_tokens = len(question.ids) + len(self._model.spans(case.function.program)[0])
        try:
            if self._expected_s(n_tokens) > READING_SHARE * (self._deadline - begin):
                case.syntax_only = unread(self._model, case.task, case.function.program)
                return
            case.reading = Readings(self._model, decoder).read(
                case.task, case.function.program, question.prompt, question.ids, question.breaks
            )
        except UnreadableError:
            return
        self._cost.read_tokens += len(case.reading.ids)
        self._read_tokens += n_tokens
        self._read_s += time.monotonic() - begin

    def _expected_s(self, n_tokens: int) -> float:
        """Return how many seconds the reading of ``n_tokens`` tokens is expected to take."""
        if self._read_tokens:
            return n_tokens * self._read_s / self._read_tokens
        from mlx_selfdebug.models.backend import device_name

        return n_tokens / TOKENS_PER_S if device_name() == "cpu" else 0.0

    def _edits(self, case: Case) -> Iterator[_FunctionEdit]:
        """Yield the edits of one function that are worth a run, with the best first."""
        program = case.reading or case.syntax_only
        if program is None:
            return
        domain = domain_of("python")
        adjustment = SUSPICION_WEIGHT * math.log(max(case.suspect.suspicion, MIN_SUSPICION))
        adjustment -= UNREAD_PENALTY if case.reading is None else 0.0
        hints = hints_of(case.task, case.verdict.failures)
        ordered = candidates(program, domain, hints, case.suspect.shares or None)
        for candidate in worthwhile(ordered, program, domain):
            if case.function.own_lines(candidate.code) is not None:
                score = candidate.score + adjustment
                yield _FunctionEdit(candidate.code, candidate.edit, candidate.ratio, score, case)

    def _try(self, ordered: Iterator[_FunctionEdit], max_tries: int, decoder: Decoder) -> list[Proposal]:
        """Run edits in their order, up to ``max_tries`` or the deadline, and return those that pass, with the likeliest first."""
        begin, n_before = time.monotonic(), self._judge.n_tries
        search = EditSearch(
            self._until_deadline(ordered),
            lambda edit: self._judge.submit(edit.proposal),
            max_tries,
            further=self._extra_tries,
        )
        while not search.ended.done():
            wait([search.ended], timeout=1.0)
            self._tell(f"trying edits: {search.n_tries}")
        search.ended.result()  # raises the error that ended the search, if one did
        self._cost.add_seconds("trying edits", time.monotonic() - begin)
        self._cost.tried["edits"] += self._judge.n_tries - n_before
        return self._likeliest_first(search.passing, decoder)

    def _until_deadline(self, ordered: Iterator[_FunctionEdit]) -> Iterator[_FunctionEdit]:
        """Yield the next edits until the deadline."""
        while time.monotonic() < self._deadline and (edit := next(ordered, None)) is not None:
            yield edit

    def _likeliest_first(self, passing: Sequence[_FunctionEdit], decoder: Decoder) -> list[Proposal]:
        """Return the edits that passed as proposals. The first few are ordered by the likelihood of the whole program."""
        if len(passing) < 2:
            return [edit.proposal for edit in passing]
        readings, compared = Readings(self._model, decoder), []
        for edit in passing[:MAX_COMPARED]:
            gain, reading = 0.0, edit.case.reading
            if reading is not None:
                before = float(reading.reading.log_likelihood.sum())
                gain = readings.log_likelihoods(reading, [edit.code])[0] - before
            compared.append(replace(edit.proposal, likelihood=gain))
        rest = [edit.proposal for edit in passing[MAX_COMPARED:]]
        return sorted(compared, key=lambda proposal: -proposal.likelihood) + rest


def _merge(ordered: Iterable[Iterator[_FunctionEdit]]) -> Iterator[_FunctionEdit]:
    """Merge sequences of edits, each with its best edit first, into one such sequence."""
    return heapq.merge(*ordered, key=_rank)


def _rank(edit: _FunctionEdit) -> float:
    return -edit.score
