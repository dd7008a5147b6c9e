"""Propose other versions of suspicious functions, the cheapest first: edits, lines, forks, repairs, drafts.

Small edits are tried first (``editing.py``), the most suspicious function alone, then more and more functions together. In the most
suspicious functions, the model also writes: single lines and statements at the places that surprised it, then whole rests, repairs
that are shown the facts, and fresh drafts. What is proposed here passes the tests that failed, and nothing more is known of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait

from mlx_selfdebug.fixing.case import ARM, Case, Effort, Spent
from mlx_selfdebug.fixing.editing import Editing
from mlx_selfdebug.fixing.judging import Judge, Proposal
from mlx_selfdebug.projects.fitting import fitted
from mlx_selfdebug.repair.asking import Asked, Asking, Decoding
from mlx_selfdebug.repair.judging import tidied_by
from mlx_selfdebug.repair.policies import Move
from mlx_selfdebug.sampling.language_model import Decoder, LanguageModel, open_decoder
from mlx_selfdebug.values.verdict import Verdict

Tell = Callable[[str], None]


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
        self._editing = Editing(
            model, self._asking, judge, further=effort.further, deadline=deadline, tell=tell, spent=spent
        )

    @property
    def is_over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() >= self._deadline

    def steps(self) -> Iterator[list[Proposal]]:
        """Yield, step by step, the proposals that pass the tests which failed, the most promising first; some steps yield none."""
        effort, start = self._effort, 0
        if effort.tries or effort.lines or effort.insertions or effort.forks:
            for size in effort.waves:
                cases = self._cases[start : start + size]
                if not cases or self.is_over:
                    break
                self._editing.read(cases, self._open())
                if effort.tries:
                    yield self._editing.tried(cases, effort.tries, self._open())
                yield self._written(self._lines(self._cases[start : min(start + size, effort.written)]))
                start += size
            yield from self._editing.late(effort.late_tries if effort.tries else 0, self._open())
        yield from self._written_anew(self._cases[: effort.written])

    def _lines(self, cases: Sequence[Case]) -> list[tuple[Case, Move]]:
        """Return the moves that write single lines of functions anew, or statements between their lines."""
        lines, n = self._effort.lines, 2 + self._effort.lines
        return [
            *((c, Move(0, 2 + k, c.given, by="line", place=k)) for k in range(lines) for c in cases),
            *(
                (c, Move(0, n + k, c.given, by="insert", place=k))
                for k in range(self._effort.insertions)
                for c in cases
            ),
        ]

    def _written_anew(self, cases: Sequence[Case]) -> Iterator[list[Proposal]]:
        """Have the model write the rests of functions, then repairs, then fresh drafts."""
        effort = self._effort
        n = 2 + effort.lines + effort.insertions
        forks = [(c, Move(0, n + k, c.given, by="fork", place=k)) for k in range(effort.forks) for c in cases]
        yield self._written(forks)
        n += effort.forks
        temperatures = [0.0] + [None] * max(effort.repairs, effort.drafts)
        yield self._written(
            [(c, Move(0, n + k, c.given, temperatures[k])) for k in range(effort.repairs) for c in cases]
        )
        yield self._written([(c, Move(1 + k, 0, None, temperatures[k])) for k in range(effort.drafts) for c in cases])

    def _written(self, moves: Sequence[tuple[Case, Move]]) -> list[Proposal]:
        """Have the model write, all moves in one batch, and return what passes. The first program that passes ends the batch."""
        if self.is_over or not moves:
            return []
        begin = time.monotonic()
        decoder, asked = self._open(), dict[int, tuple[Case, Asked]]()
        n_before = decoder.counts.decoded_tokens
        for case, move in moves:
            if move.by in ("line", "insert", "fork") and case.reading is None:
                continue
            request = self._asking.ask(case.task, move, attempts=(case.given,), program=case.reading)
            if isinstance(request, Asked):
                asked[decoder.submit(request.request)] = case, request
        passing = self._decoded(decoder, asked) if asked else []
        self.spent.decoded_tokens += decoder.counts.decoded_tokens - n_before
        if decoder.active or decoder.waiting:  # What is left of this batch would only hold up the next one.
            self._decoder = None
        self.spent.add(f"writing {_KIND[_made_by(moves[0][1])]}", time.monotonic() - begin)
        return passing

    def _decoded(self, decoder: Decoder, asked: dict[int, tuple[Case, Asked]]) -> list[Proposal]:
        tests: dict[Future[Verdict], Proposal] = {}
        n_written, kind = 0, _KIND[_made_by(next(iter(asked.values()))[1].move)]
        while (decoder.active or decoder.waiting) and not self.is_over:
            for completion in decoder.step():
                n_written += 1
                case, request = asked[completion.ticket]
                program = fitted(case.function, tidied_by(request, completion).code)
                if program is not None and program != case.function.program:
                    proposal = Proposal(case.function, program, _made_by(request.move))
                    tests.setdefault(self._judge.submit(proposal), proposal)
            self._tell(f"writing {kind}: {n_written} of {len(asked)}")
            if any(future.done() and future.result().passed for future in tests):
                break
        wait(tests)
        for proposal in tests.values():
            self.spent.tried[proposal.by] = self.spent.tried.get(proposal.by, 0) + 1
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


_KIND = {"line": "lines", "insertion": "lines", "fork": "forks", "repair": "repairs", "draft": "drafts"}
"""What is written, in the words of the progress."""


def _made_by(move: Move) -> str:
    """Return how the program of a move is made, in the words of a proposal."""
    return {"insert": "insertion", "asking": "draft" if move.parent is None else "repair"}.get(move.by, move.by)
