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
from mlx_selfdebug.repair.policies import FIRST_FORK_ROUND, Move
from mlx_selfdebug.sampling.language_model import Decoder, LanguageModel, open_decoder
from mlx_selfdebug.values.verdict import Verdict

BATCH_SIZE = 16
"""The largest number of completions that are decoded side by side."""
FIRST_WRITTEN_ROUND = FIRST_FORK_ROUND
"""The round of the first completion that follows up a function. Round 1 is the search for edits.

Each completion has a round of its own, from which its seed is derived.
"""
_NOUNS: dict[Origin, str] = {
    "line": "lines",
    "insertion": "lines",
    "fork": "forks",
    "repair": "repairs",
    "draft": "drafts",
}
"""What the model is writing, as the progress says it. The keys of ``FixResult.seconds`` are "writing lines" and so on."""


class Proposing:
    """The search for versions of suspicious functions that pass the failing tests.

    ``cases`` are the functions, the most suspicious first. Nothing new is tried after ``deadline``, a time of the monotonic clock.
    The model and all tests together may take ``budget_bytes`` of memory. ``reserved_bytes`` of these are kept for the tests.
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
        """Yield a list of proposals per step, which may be empty.

        Edits are listed likeliest first, written programs in the order in which they were completed.
        """
        effort, start = self._effort, 0
        if effort.tries or effort.rewritten_lines or effort.insertions or effort.forks:
            for size in effort.waves:
                cases = self._cases[start : start + size]
                if not cases or self._is_over:
                    break
                self._editing.read(cases, self._open_decoder())
                if effort.tries:
                    yield self._editing.search(cases, effort.tries, self._open_decoder())
                yield self._write(self._line_moves(self._cases[start : min(start + size, effort.written_functions)]))
                start += size
            if effort.tries and effort.late_tries and not self._is_over:
                yield from self._editing.search_leftovers(effort.late_tries, self._open_decoder())
        written = self._cases[: effort.written_functions]
        yield self._write(self._fork_moves(written))
        yield self._write(self._repair_moves(written))
        yield self._write(self._draft_moves(written))

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._deadline

    def _line_moves(self, cases: Sequence[Case]) -> list[tuple[Case, Move]]:
        """Return the moves that write single lines anew, and those that insert statements between lines."""
        effort = self._effort
        return [
            *self._follow_ups(cases, FIRST_WRITTEN_ROUND, effort.rewritten_lines, "line"),
            *self._follow_ups(cases, FIRST_WRITTEN_ROUND + effort.rewritten_lines, effort.insertions, "insert"),
        ]

    def _fork_moves(self, cases: Sequence[Case]) -> list[tuple[Case, Move]]:
        """Return the moves that write the rest of a function anew."""
        first_round = FIRST_WRITTEN_ROUND + self._effort.rewritten_lines + self._effort.insertions
        return self._follow_ups(cases, first_round, self._effort.forks, "fork")

    def _follow_ups(
        self, cases: Sequence[Case], first_round: int, n: int, by: Literal["line", "insert", "fork"]
    ) -> list[tuple[Case, Move]]:
        """Return ``n`` moves per function, one at each of the places that surprised the model most."""
        return [
            (case, Move(sample=0, round=first_round + i, parent=case.failing_attempt, by=by, place=i))
            for i in range(n)
            for case in cases
        ]

    def _repair_moves(self, cases: Sequence[Case]) -> list[tuple[Case, Move]]:
        """Return the moves that ask for repairs. The first repair of each function is greedy."""
        effort = self._effort
        first_round = FIRST_WRITTEN_ROUND + effort.rewritten_lines + effort.insertions + effort.forks
        return [
            (case, Move(sample=0, round=first_round + i, parent=case.failing_attempt, temperature=_temperature(i)))
            for i in range(effort.repairs)
            for case in cases
        ]

    def _draft_moves(self, cases: Sequence[Case]) -> list[tuple[Case, Move]]:
        """Return the moves that ask for fresh drafts. The first draft of each function is greedy."""
        return [
            (case, Move(sample=1 + i, temperature=_temperature(i)))
            for i in range(self._effort.drafts)
            for case in cases
        ]

    def _write(self, moves: Sequence[tuple[Case, Move]]) -> list[Proposal]:
        """Decode all moves in one batch, and return the programs that pass. The first program that passes ends the batch."""
        if self._is_over or not moves:
            return []
        begin = time.monotonic()
        decoder = self._open_decoder()
        by_ticket: dict[int, tuple[Case, Asked]] = {}
        n_before = decoder.counts.decoded_tokens
        for case, move in moves:
            if move.by in ("line", "insert", "fork") and case.reading is None:
                continue
            asked = self._asking.ask(case.task, move, attempts=(case.failing_attempt,), program=case.reading)
            if isinstance(asked, Asked):
                by_ticket[decoder.submit(asked.request)] = case, asked
        noun = _NOUNS[_origin(moves[0][1])]
        passing = self._decode(decoder, by_ticket, noun) if by_ticket else []
        self._cost.decoded_tokens += decoder.counts.decoded_tokens - n_before
        if decoder.active or decoder.waiting:  # The rest of this batch would only hold up the next one.
            self._decoder = None
        self._cost.add_seconds(f"writing {noun}", time.monotonic() - begin)
        return passing

    def _decode(self, decoder: Decoder, by_ticket: dict[int, tuple[Case, Asked]], noun: str) -> list[Proposal]:
        """Decode a batch and test each program as soon as it is complete. Return the programs that pass, in that order.

        ``by_ticket`` holds the case and the request of each ticket of the decoder.
        """
        tests: dict[Future[Verdict], Proposal] = {}
        n_written = 0
        while (decoder.active or decoder.waiting) and not self._is_over:
            for completion in decoder.step():
                n_written += 1
                case, asked = by_ticket[completion.ticket]
                program = fitted(case.function, tidied_by(asked, completion).code)
                if program is not None and program != case.function.program:
                    proposal = Proposal(case.function, program, _origin(asked.move))
                    tests.setdefault(self._judge.submit(proposal), proposal)
            self._tell(f"writing {noun}: {n_written} of {len(by_ticket)}")
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
