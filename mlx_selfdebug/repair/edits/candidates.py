"""Put all edits of a program in one order, the most promising first.

Edits are ordered by a score, which is a sum of three terms in nats:

1. ``SLOPE`` times the edit's log-ratio: the log-probability of the first token that the edit changes, minus that of the program's
   own token at the same place. To first order, this is by how much the edit makes the whole program likelier.
2. A weight of the edit's kind, which was learned on bugs whose fix is known (``weights.py``).
3. The logarithm of the share of the failing calls that ran the changed line, if the program was traced.

For example, let ``a - b`` be the bug of a program whose three failing calls all run its line, and let the model find ``+`` likelier
than ``-`` by 5 nats. The edit to ``a + b`` is of the kind "arithmetic" and scores 0.43 * 5 - 0.1 + log(3/3) = 2.05.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlx_selfdebug.domains.base import Domain
from mlx_selfdebug.parsing import parse
from mlx_selfdebug.repair.copies import common_length
from mlx_selfdebug.repair.edits.by_token import token_edits
from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.edits.hints import Hints
from mlx_selfdebug.repair.edits.python_expressions import Expressions
from mlx_selfdebug.repair.edits.python_source import PythonSource
from mlx_selfdebug.repair.edits.python_statements import statement_edits
from mlx_selfdebug.repair.edits.weights import SLOPE, UNKNOWN, WEIGHTS
from mlx_selfdebug.repair.program_reading import ProgramReading

PYTHON_DOMAINS = frozenset({"python", "project", "pandas", "polars"})
"""Domains whose programs are Python, to which ``python_expressions.py`` and ``python_statements.py`` apply."""
MIN_RATIO = -20.0
"""The lowest log-ratio that an edit can have, in nats. Edits that the model finds even less likely count as equally unlikely."""
MIN_SHARE = 1e-3
"""The share of failing calls that is assumed for a line which none of them ran, so that its logarithm is finite: about -7 nats."""
ANSWER_PENALTY = 100.0
"""What an edit loses, in nats, if it only writes the answer to a failing check. This puts it behind all others."""


@dataclass(frozen=True)
class Candidate:
    """An edited program."""

    code: str
    """The whole edited program."""
    edit: Edit
    ratio: float
    """The log-ratio of the edit, in nats."""
    score: float
    """The score of the edit, in nats. Candidates are ordered by it, the largest first."""


def candidates(
    program: ProgramReading,
    domain: Domain,
    hints: Hints = Hints(),  # noqa: B008
    executed: Mapping[int, float] | None = None,
    weights: Mapping[str, float] = WEIGHTS,
) -> list[Candidate]:
    """Return the edited programs, the best first. If several edits give the same program, only the best of them is returned.

    Args:
        program: the failed program and its reading.
        domain: the domain of its task.
        hints: the constants that the program may lack, and the answers that an edit must not simply write.
        executed: the share of the failing calls that ran each line, by the line's number from 1; None if this is not known.
        weights: the weight of each kind of edit.
    """
    best: dict[str, Candidate] = {}
    for edit, ratio in _rated(program, domain, hints):
        body = edit.applied(program.body)
        score = _score(edit, ratio, program, hints, executed, weights)
        if body not in best or score > best[body].score:
            best[body] = Candidate(program.code_of(body), edit, ratio, score)
    best.pop(program.body, None)
    return sorted(best.values(), key=lambda candidate: -candidate.score)


def _rated(program: ProgramReading, domain: Domain, hints: Hints) -> Iterator[tuple[Edit, float]]:
    """Yield the token edits of a program and, if it is Python that parses, its syntax edits, each with its log-ratio.

    A program that no model has read has only syntax edits, whose log-ratios are all 0.
    """
    edits = syntax_edits(program.body, domain, hints)
    if not program.is_read:
        yield from ((edit, 0.0) for edit in edits)
        return
    yield from token_edits(program)
    yield from zip(edits, log_ratios(program, [edit.applied(program.body) for edit in edits]), strict=True)


def syntax_edits(body: str, domain: Domain, hints: Hints) -> list[Edit]:
    """Return the edits of the expressions and statements of ``body``.

    There are none unless ``body`` is Python that parses, and none if its tree is nested too deeply to be walked through, as that of
    a sum of a thousand terms is.
    """
    source = PythonSource.parsed(body) if domain.name in PYTHON_DOMAINS else None
    if source is None:
        return []
    try:
        return [*Expressions(source, hints).edits(), *statement_edits(source)]
    except RecursionError:
        return []


def log_ratios(program: ProgramReading, bodies: Sequence[str]) -> list[float]:
    """Return, for each of the edited ``bodies``, its log-ratio in nats.

    This is log p of the first token in which the edited text differs from the program, minus log p of the program's own token at
    this place. Both tokens follow the same beginning, so the reading of the program says how likely each is, and the model is not
    run again. A text without a differing token, which is only the beginning of the program or goes on after it, gets ``MIN_RATIO``.
    """
    encoded = program.encode_all([program.completion_of(body) for body in bodies])
    # The index of the first token in which each edited text differs.
    places = [common_length(program.ids, ids) for ids in encoded]
    differing = [i for i, ids in enumerate(encoded) if places[i] < min(len(program.ids), len(ids))]
    reading = program.reading
    likelihoods = reading.log_likelihood_of([places[i] for i in differing], [encoded[i][places[i]] for i in differing])
    ratios = [MIN_RATIO] * len(bodies)
    for i, likelihood in zip(differing, likelihoods, strict=True):
        ratios[i] = max(MIN_RATIO, float(likelihood - reading.log_likelihood[places[i]]))
    return ratios


def _score(
    edit: Edit,
    ratio: float,
    program: ProgramReading,
    hints: Hints,
    executed: Mapping[int, float] | None,
    weights: Mapping[str, float],
) -> float:
    """Return the score of an edit with the log-ratio ``ratio``."""
    penalty = ANSWER_PENALTY if hints.only_answers(edit.text) else 0.0
    score = SLOPE * ratio + weights.get(edit.operator, UNKNOWN) - penalty
    if executed is None:
        return score
    line = program.first_line + program.body.count("\n", 0, edit.start)
    share = executed.get(line, 0.0)
    return score + math.log(max(share, MIN_SHARE))


def worthwhile(
    ordered: Iterable[Candidate], program: ProgramReading, domain: Domain, tried: Iterable[str] = ()
) -> Iterator[Candidate]:
    """Yield those of the ``ordered`` candidates that are worth a run, in the same order.

    Candidates in Python that do not parse are left out. So are those that differ only in layout from the program, from a code in
    ``tried`` or from an earlier candidate.
    """
    seen = {domain.normalise(program.code), *(domain.normalise(code) for code in tried)}
    is_python = domain.name in PYTHON_DOMAINS
    for candidate in ordered:
        if is_python and parse(candidate.code) is None:
            continue
        normalised = domain.normalise(candidate.code)
        if normalised not in seen:
            seen.add(normalised)
            yield candidate


def traceable(domain: Domain) -> bool:
    """Return whether programs of ``domain`` are Python, so that the lines which they run can be traced."""
    return domain.name in PYTHON_DOMAINS
