"""Propose other versions of suspicious functions, the cheapest kind first: edits, lines, forks, repairs, drafts.

Small edits are tried first (``editing.py``): on the most suspicious function alone, then on more and more functions together. In
the most suspicious functions the model also writes: single lines and statements at the places that surprised it, then the rest of
the function from such a place, then repairs that are shown the facts, and fresh drafts. A proposal has passed the failing tests,
and no other tests were run on it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Literal

from mlx_selfdebug.fixing.case import ARM, Case, Cost, Effort, Tell
from mlx_selfdebug.fixing.editing import Editing
from mlx_selfdebug.fixing.judging import Judge, Origin, Proposal
from mlx_selfdebug.projects.fitting import fitted
from mlx_selfdebug.repair.asking import Asked, Asking, Decoding
from mlx_selfdebug.repair.judging import tidied_by
from mlx_selfdebug.repair.policies import Move
from mlx_selfdebug.sampling.language_model import Decoder, LanguageModel, open_decoder
from mlx_selfdebug.values.verdict import Verdict

BATCH_SIZE = 16
"""The largest number of completions that are decoded side by side."""
FIRST_ROUND = 2
"""The round of the first completion that follows up a function. Each has a round of its own, from which its seed is derived."""
_NOUNS: dict[Origin, str] = {
    "line": "lines",
    "insertion": "lines",
    "fork": "forks",
    "repair": "repairs",
    "draft": "drafts",
}
"""What the model is writing, in the words of the progress. They are also keys of ``FixResult.seconds``."""


class Proposing:
    """The search for versions of suspicious functions that pass the failing tests.

    ``cases`` are the functions, the most suspicious first. Nothing new is tried after ``deadline``, a time of the monotonic clock.
    The model and all tests together may take ``budget_bytes`` of memory, of which ``reserved_bytes`` are kept for the tests.
    """

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
        cost: Cost,
        seed: int = 0,
    ) -> None:
        self._model, self._judge, self._effort, self._tell, self._cost = model, judge, effort, tell, cost
        self._cases = list(cases)
        self._deadline = deadline
        self._decoding = Decoding(
            effort.temperature, effort.min_p, effort.max_tokens, BATCH_SIZE, budget_bytes, reserved_bytes
        )
        self._asking = Asking(model, [case.task for case in self._cases], self._decoding, seed, ARM)
        self._decoder: Decoder | None = None
        self._editing = Editing(
            model, self._asking, judge, extra_tries=effort.extra_tries, deadline=deadline, tell=tell, cost=cost
        )

    def proposals(self) -> Iterator[list[Proposal]]:
        """Yield the proposals of one step after another, those of a step with the most promising first. A step may yield none."""
        effort, start = self._effort, 0
        if effort.tries or effort.lines or effort.insertions or effort.forks:
            for size in effort.waves:
                cases = self._cases[start : start + size]
                if not cases or self._is_over:
                    break
                self._editing.read(cases, self._open_decoder())
                if effort.tries:
                    yield self._editing.search(cases, effort.tries, self._open_decoder())
                yield self._write(self._lines(self._cases[start : min(start + size, effort.n_written)]))
                start += size
            yield from self._editing.search_leftovers(effort.late_tries if effort.tries else 0, self._open_decoder())
        written = self._cases[: effort.n_written]
        yield self._write(self._forks(written))
        yield self._write(self._repairs(written))
        yield self._write(self._drafts(written))

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._deadline

    def _lines(self, cases: Sequence[Case]) -> list[tuple[Case, Move]]:
        """Return the moves that write single lines anew, and those that insert statements between lines."""
        return [
            *self._follow_ups(cases, FIRST_ROUND, self._effort.lines, "line"),
            *self._follow_ups(cases, FIRST_ROUND + self._effort.lines, self._effort.insertions, "insert"),
        ]

    def _forks(self, cases: Sequence[Case]) -> list[tuple[Case, Move]]:
        """Return the moves that write the rest of a function anew."""
        first_round = FIRST_ROUND + self._effort.lines + self._effort.insertions
        return self._follow_ups(cases, first_round, self._effort.forks, "fork")

    def _follow_ups(
        self, cases: Sequence[Case], first_round: int, n: int, by: Literal["line", "insert", "fork"]
    ) -> list[tuple[Case, Move]]:
        """Return ``n`` moves per function, one at each of the places that surprised the model most."""
        return [
            (case, Move(0, first_round + i, case.failing_attempt, by=by, place=i)) for i in range(n) for case in cases
        ]

    def _repairs(self, cases: Sequence[Case]) -> list[tuple[Case, Move]]:
        """Return the moves that ask for repairs. The first repair of each function is greedy."""
        effort = self._effort
        first_round = FIRST_ROUND + effort.lines + effort.insertions + effort.forks
        return [
            (case, Move(0, first_round + i, case.failing_attempt, _temperature(i)))
            for i in range(effort.repairs)
            for case in cases
        ]

    def _drafts(self, cases: Sequence[Case]) -> list[tuple[Case, Move]]:
        """Return the moves that ask for fresh drafts. The first draft of each function is greedy."""
        return [(case, Move(1 + i, 0, None, _temperature(i))) for i in range(self._effort.drafts) for case in cases]

    def _write(self, moves: Sequence[tuple[Case, Move]]) -> list[Proposal]:
        """Have the model write, all moves in one batch, and return what passes. The first program that passes ends the batch."""
        if self._is_over or not moves:
            return []
        begin = time.monotonic()
        decoder = self._open_decoder()
        asked: dict[int, tuple[Case, Asked]] = {}
        n_before = decoder.counts.decoded_tokens
        for case, move in moves:
            if move.by in ("line", "insert", "fork") and case.reading is None:
                continue
            request = self._asking.ask(case.task, move, attempts=(case.failing_attempt,), program=case.reading)
            if isinstance(request, Asked):
                asked[decoder.submit(request.request)] = case, request
        noun = _NOUNS[_origin(moves[0][1])]
        passing = self._decode(decoder, asked, noun) if asked else []
        self._cost.decoded_tokens += decoder.counts.decoded_tokens - n_before
        if decoder.active or decoder.waiting:  # What is left of this batch would only hold up the next one.
            self._decoder = None
        self._cost.add_seconds(f"writing {noun}", time.monotonic() - begin)
        return passing

    def _decode(self, decoder: Decoder, asked: dict[int, tuple[Case, Asked]], noun: str) -> list[Proposal]:
        """Decode a batch and test each program as soon as it is complete. Return the programs that pass, in order.

        ``asked`` holds the case and the request of each ticket of the decoder.
        """
        tests: dict[Future[Verdict], Proposal] = {}
        n_written = 0
        while (decoder.active or decoder.waiting) and not self._is_over:
            for completion in decoder.step():
                n_written += 1
                case, request = asked[completion.ticket]
                program = fitted(case.function, tidied_by(request, completion).code)
                if program is not None and program != case.function.program:
                    proposal = Proposal(case.function, program, _origin(request.move))
                    tests.setdefault(self._judge.submit(proposal), proposal)
            self._tell(f"writing {noun}: {n_written} of {len(asked)}")
            if any(future.done() and future.result().passed for future in tests):
                break
        wait(tests)
        for proposal in tests.values():
            self._cost.tried[proposal.by] += 1
        return [proposal for future, proposal in tests.items() if future.result().passed]

    def _open_decoder(self) -> Decoder:
        """Return the decoder of earlier batches, or a new one."""
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


def _temperature(i: int) -> float | None:
    """Return the temperature of the i-th completion of its kind: greedy for the first, then that of the decoding (None)."""
    return 0.0 if i == 0 else None


def _origin(move: Move) -> Origin:
    """Return how the program of a move is made."""
    if move.by == "asking":
        return "draft" if move.parent is None else "repair"
    return "insertion" if move.by == "insert" else move.by
