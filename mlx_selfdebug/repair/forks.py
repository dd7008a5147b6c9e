"""Forks: where a failed program is left for another token, and when what comes of it is only the same program again.

A fork keeps the program up to a place, takes the token that the model would rather have there, and lets it write on. Where a model
reads someone else's bug, that is most often right at the bug. Its own greedy program never surprises it, so there the order of
places is that of its hesitations, and many forks find their way back into the program they left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlx_selfdebug.domains.base import Domain

TRIALS = frozenset({"print", "assert", "if"})
"""What a line begins with, outside of all blocks, that tries a program out and is no part of it."""


class Read(Protocol):
    """What a model found in a program of n tokens, in nats: see ``sampling.reading.Reading``."""

    @property
    def ids(self) -> npt.NDArray[np.int64]: ...

    @property
    def log_likelihood(self) -> npt.NDArray[np.float32]: ...

    @property
    def others(self) -> npt.NDArray[np.int64]: ...

    @property
    def others_log_likelihood(self) -> npt.NDArray[np.float32]: ...


class _Speller(Protocol):
    def spell(self, id_: int) -> str: ...


class ReadProgram(Protocol):
    """A program with its reading, as ``repair.reading.ProgramReading`` has it: the prompt it was read under, the tokens of what was
    read, and the character at which each begins, with the text's length at the end.
    """

    @property
    def prompt(self) -> str: ...

    @property
    def prompt_ids(self) -> tuple[int, ...]: ...

    @property
    def breaks(self) -> tuple[int, ...]: ...

    @property
    def ids(self) -> tuple[int, ...]: ...

    @property
    def starts(self) -> tuple[int, ...]: ...

    @property
    def reading(self) -> Read: ...

    @property
    def speller(self) -> _Speller: ...


@dataclass(frozen=True)
class Fork:
    """``choice`` is taken in the place of token ``position``; ``log_ratio`` is by how many nats it is likelier than that one."""

    position: int
    choice: int
    log_ratio: float


MOST_PIECES = 8
"""Tokens of a program that one token may be cut into."""

Takes = Callable[[int, int], bool]
"""Of a position and a token: whether the token may be taken there."""


def forks_of(reading: Read, most: int, takes: Takes = lambda _position, _choice: True) -> list[Fork]:
    """Return at most ``most`` forks, one a place, in the order of log p(choice) - log p(own): the likeliest token that ``takes``
    allows. Of equals the earlier place comes first.
    """
    ratios = reading.others_log_likelihood - reading.log_likelihood[:, None]
    found: dict[int, Fork] = {}
    for flat in np.argsort(-ratios, axis=None, kind="stable"):
        if len(found) >= most:
            break
        position, rank = (int(i) for i in np.unravel_index(flat, ratios.shape))
        choice = int(reading.others[position, rank])
        if position not in found and takes(position, choice):
            found[position] = Fork(position, choice, float(ratios[position, rank]))
    return list(found.values())


def that_leave(program: ReadProgram, end_ids: frozenset[int], domain: Domain) -> Takes:
    """Return what may be taken where in ``program``: no end of a turn, nothing that is no text by itself, and nothing after which
    the text is still the program's, only cut into other tokens, or with other quotes where these mean the same.
    """
    quotes = _quotes(domain)
    texts = [quotes(program.speller.spell(id_)) for id_ in program.ids]

    def takes(position: int, choice: int) -> bool:
        text = program.speller.spell(choice)
        still_the_same = quotes(text) in accumulate(texts[position : position + MOST_PIECES])
        return choice not in end_ids and _is_text(text) and not still_the_same

    return takes


def greedy_after(program: ReadProgram, length: int) -> int:
    """Return the character of the program, ``length`` characters long, from which on the model, asked after each token, would have
    written it as it is. How it would have ended it is another matter.
    """
    inside = np.array(program.starts[:-1]) < length
    surprising = program.reading.others_log_likelihood[:, 0] > program.reading.log_likelihood
    places = np.flatnonzero(inside & surprising)
    return program.starts[int(places[-1]) + 1] if places.size else 0


def falls_back(
    failed: str, others: Sequence[str], domain: Domain, *, after: int, greedy_from: int = 0
) -> Callable[[str], bool]:
    """Return for ``Request.ended`` whether a greedy fork of ``failed`` has found its way back, into that program or into one of
    ``others``, earlier forks of it. It is cut where it would only be written again.

    ``after`` is the number of characters before the token that the fork begins with. The line of that token, and at least one line
    of code more, must say what the program says, whatever their layout, comments and docstrings: a comment that says something
    else may be what changes the line after it. And the model must be left to itself there: before ``greedy_from`` it would not
    write ``failed``, but would leave it at the next place that surprises it; before another fork has left ``failed``, nothing
    says that this one will leave it too. Where all of a program is written nothing is left to be saved, and more may follow.
    """
    whole = lexical(failed, domain)
    codes = [(whole, len(lexical(failed.strip("\n")[:greedy_from], domain)))]
    codes += [
        (code, _common(code, whole) + 1) for code in (lexical(other, domain) for other in others) if code != whole
    ]

    def ended(text: str) -> bool:
        said = lexical(text, domain)
        near = [code for code, least in codes if least <= len(said) < len(code) and code[: len(said)] == said]
        if not near:
            return False
        line_ends = [i for i, character in enumerate(text) if character == "\n" and i >= after]
        begun = (lexical(text[:end], domain) for end in line_ends)
        # A line inside a docstring is like none of the program's; the first that is may come later.
        first = next((lines for lines in begun if any(code[: len(lines)] == lines for code in near)), said)
        return len(said) > len(first)

    return ended


def repeats(failed: str, domain: Domain) -> Callable[[str], bool]:
    """Return for ``Request.ended`` whether a repair has written all of ``failed`` again and now tries it out.

    Before that it may still add what the program lacks: a ``return`` at its end, a helper, a constant.
    """
    whole = lexical(failed, domain)

    def ended(text: str) -> bool:
        said = lexical(text, domain)
        more = said[len(whole) :]
        return bool(whole) and len(more) > 1 and said[: len(whole)] == whole and more[0] == "\n" and more[1] in TRIALS

    return ended


def fallen_into(text: str, tried: Sequence[str], domain: Domain) -> str:
    """Return the first of ``tried`` that a completion which was cut has begun, or written and gone on."""
    said = lexical(text, domain)
    for code in tried:
        tokens = lexical(code, domain)
        n = min(len(tokens), len(said))
        if n and tokens[:n] == said[:n]:
            return code
    return tried[0]


def lexical(code: str, domain: Domain) -> list[str]:
    """Return the lexical tokens of ``code`` without its docstrings: the same for codes that differ in comments, docstrings, empty
    lines and spaces alone. Those of whole lines begin those of the code.
    """
    tokens = list(domain.tokens(code.strip("\n")))
    dropped = {i for i in range(2, len(tokens)) if _is_docstring(tokens, i)}
    return [token for i, token in enumerate(tokens) if i not in dropped and i + 1 not in dropped]


def _is_docstring(tokens: Sequence[str], i: int) -> bool:
    """A string alone on its lines after a colon, and nothing follows that is less or more indented."""
    if not (tokens[i].endswith(("'", '"')) and tokens[i - 1].startswith("\n") and tokens[i - 2] == ":"):
        return False
    return i + 1 == len(tokens) or tokens[i + 1] == tokens[i - 1]


def _quotes(domain: Domain) -> Callable[[str], str]:
    """Return what makes quotes alike, where the domain holds them to be."""
    alike = domain.normalise('x = "a"') == domain.normalise("x = 'a'")
    return (lambda text: text.replace('"', "'")) if alike else str


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _is_text(text: str) -> bool:
    """Neither empty nor a part of a character."""
    return bool(text) and "\ufffd" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
