"""All edits of one program in one order: the likeliest program under its statement first.

The order is that of a sum, in nats: the first-order change of the program's log-likelihood (that of the first token in which the
edited program differs, against the token that stood there), a weight of the edit's kind that was learned on bugs whose mending is
known (``weights.py``), and how often the failing checks run the line that is changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from mlx_selfdebug.domains.base import Domain
from mlx_selfdebug.domains.python_source import parse
from mlx_selfdebug.repair.edits.by_token import token_edits
from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.edits.hints import Hints
from mlx_selfdebug.repair.edits.python_expressions import Expressions
from mlx_selfdebug.repair.edits.python_source import PythonSource
from mlx_selfdebug.repair.edits.python_statements import statement_edits
from mlx_selfdebug.repair.edits.weights import SLOPE, UNKNOWN, WEIGHTS
from mlx_selfdebug.repair.reading import ProgramReading

WITH_PYTHON = frozenset({"python", "pandas", "polars"})
"""Domains whose programs are Python: the operators of ``python_expressions.py`` and ``python_statements.py`` apply."""
LEAST_RATIO = -20.0
"""Edits are told apart down to this many nats; what the model finds less likely than that is equally unlikely."""
LEAST_SHARE = 1e-3
"""What a line counts for that the failing checks did not run, against 1 for one that all of them did."""
LAST = 100.0
"""Nats that bring an edit behind all others: one that only writes the answer to the failing check."""


@dataclass(frozen=True)
class Candidate:
    """An edited program.

    ``ratio`` is its first-order change of log-likelihood, ``score`` what candidates are ordered by, both in nats.
    """

    code: str
    edit: Edit
    ratio: float
    score: float


def candidates(
    program: ProgramReading,
    domain: Domain,
    hints: Hints = Hints(),  # noqa: B008
    executed: Mapping[int, float] | None = None,
    weights: Mapping[str, float] = WEIGHTS,
) -> list[Candidate]:
    """Return the edited programs, best first, each text once.

    ``executed`` gives by line, from 1, the share of the failing calls that ran it; an edit of a line that none of them reached
    is put back by seven nats.
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
    """Yield the token edits of a program, and if it is Python that parses, those of its syntax, each with its log-ratio."""
    yield from token_edits(program)
    edits = syntax_edits(program.body, domain, hints)
    yield from zip(edits, first_order(program, [edit.applied(program.body) for edit in edits]), strict=True)


def traceable(domain: Domain) -> bool:
    """Say whether the lines that a program of ``domain`` runs are lines of Python."""
    return domain.name in WITH_PYTHON


def syntax_edits(body: str, domain: Domain, hints: Hints) -> list[Edit]:
    """Return the edits that the domain's language has, none for a domain without operators or a program that does not parse."""
    source = PythonSource.parsed(body) if domain.name in WITH_PYTHON else None
    return [*Expressions(source, hints).edits(), *statement_edits(source)] if source else []


def first_order(program: ProgramReading, bodies: Sequence[str]) -> list[float]:
    """Return, for each edited text, log p of its first token that differs minus log p of the token that stood there, in nats.

    Both given the same beginning: the first term of the change of the whole program's log-likelihood, and free once the program
    was read. A text whose tokens are the program's own gets ``LEAST_RATIO``.
    """
    encoded = program.encode_all([program.completion_of(body) for body in bodies])
    places = [_first_difference(program.ids, ids) for ids in encoded]
    known = [
        i for i, (place, ids) in enumerate(zip(places, encoded, strict=True)) if place < min(len(program.ids), len(ids))
    ]
    reading = program.reading
    likelihoods = reading.log_likelihood_of([places[i] for i in known], [encoded[i][places[i]] for i in known])
    ratios = [LEAST_RATIO] * len(bodies)
    for i, likelihood in zip(known, likelihoods, strict=True):
        ratios[i] = max(LEAST_RATIO, float(likelihood - reading.log_likelihood[places[i]]))
    return ratios


def _first_difference(left: Sequence[int], right: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _score(
    edit: Edit,
    ratio: float,
    program: ProgramReading,
    hints: Hints,
    executed: Mapping[int, float] | None,
    weights: Mapping[str, float],
) -> float:
    score = SLOPE * ratio + weights.get(edit.operator, UNKNOWN) - (LAST if hints.only_answers(edit.text) else 0.0)
    if executed is None:
        return score
    line = program.first_line + program.body.count("\n", 0, edit.start)
    share = executed.get(line, 0.0)
    return score + math.log(max(share, LEAST_SHARE))


def worthwhile(
    found: Iterable[Candidate], program: ProgramReading, domain: Domain, tried: Iterable[str] = ()
) -> Iterator[Candidate]:
    """Yield the candidates that are worth a run, in order: they parse, and differ in more than layout from all before them."""
    seen = {domain.normalise(program.code), *(domain.normalise(code) for code in tried)}
    is_python = domain.name in WITH_PYTHON
    for candidate in found:
        if is_python and parse(candidate.code) is None:
            continue
        normal = domain.normalise(candidate.code)
        if normal not in seen:
            seen.add(normal)
            yield candidate
