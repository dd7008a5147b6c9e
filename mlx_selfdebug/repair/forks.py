"""Find the places at which a fork leaves a failed program.

A fork keeps the program up to a place, puts the token there that the model would rather have, and lets the model write the rest. A
fork that replaces the token ``-=`` by ``+=`` begins like this, and the model goes on from there:

    for n in numbers:                 for n in numbers:
        total -= n           ->           total +=
    return total

In a program that someone else wrote, the place that surprises the model most is most often the bug. A model's own greedy program
never surprises it. There the places are ordered by how close the model came to choosing another token.

A fork may also write a single line (``Line``) or insert a statement (``Insertion``), and keep the rest of the program as it was.
Such a fork costs a dozen tokens, and several may begin at the same place with different tokens. Where a bug removed something, such
as the value of a ``return``, they repair more programs than forks of the whole rest do.

A fork that finds its way back into the program that it left is noticed by ``copies.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from mlx_selfdebug.domains.base import Domain

if TYPE_CHECKING:
    from mlx_selfdebug.repair.program_reading import ProgramReading
    from mlx_selfdebug.sampling.reading import Reading

MAX_PIECES = 8
"""The largest number of the program's tokens that are joined to see whether they spell the text of one other token."""
_CONTINUED = (":", ",", "(", "[", "{", "\\")
"""What a line of Python ends with if its statement continues on the next line."""


@dataclass(frozen=True)
class Fork:
    """A place at which to leave a program, and the token to leave it with."""

    position: int
    """The index of the program's token that is replaced."""
    choice: int
    """The id of the token that replaces it."""
    log_ratio: float
    """By how many nats the model finds ``choice`` likelier there than the program's own token."""


ForkFilter = Callable[[int, int], bool]
"""Returns whether a fork may take a token at a position. The arguments are the position and the id of the token."""


def forks_of(
    reading: Reading, max_forks: int, allows: ForkFilter = lambda _position, _choice: True, *, per_place: int = 1
) -> list[Fork]:
    """Return at most ``max_forks`` forks, those with the largest log p(choice) - log p(own token) first.

    There are at most ``per_place`` forks at one place, which take the likeliest tokens that ``allows`` allows there. Of equal forks
    the one at the earlier place comes first.
    """
    # Shape (tokens, others): a row of log-ratios for each place, a column for each of the tokens that might stand there instead.
    ratios = reading.others_log_likelihood - reading.log_likelihood[:, None]
    forks: list[Fork] = []
    n_at_place: Counter[int] = Counter()
    for flat_index in np.argsort(-ratios, axis=None, kind="stable"):
        if len(forks) >= max_forks:
            break
        position, rank = (int(i) for i in np.unravel_index(flat_index, ratios.shape))
        choice = int(reading.others[position, rank])
        if n_at_place[position] < per_place and allows(position, choice):
            n_at_place[position] += 1
            forks.append(Fork(position, choice, float(ratios[position, rank])))
    return forks


def fork_filter(program: ProgramReading, end_ids: frozenset[int], domain: Domain) -> ForkFilter:
    """Return a filter that decides which tokens a fork of ``program`` may take at which position.

    It refuses three sorts of token: those that end the model's turn (``end_ids``), those that are not text by themselves, and those
    that leave the text as it is. A token of the last sort only cuts the same text into other tokens, or writes other quotes where
    the domain treats quotes as equal.
    """
    unify_quotes = _quote_unifier(domain)
    texts = [unify_quotes(program.speller.spell(id_)) for id_ in program.ids]

    def allows(position: int, choice: int) -> bool:
        text = program.speller.spell(choice)
        leaves_text_as_it_is = unify_quotes(text) in accumulate(texts[position : position + MAX_PIECES])
        return choice not in end_ids and _is_text(text) and not leaves_text_as_it_is

    return allows


def _quote_unifier(domain: Domain) -> Callable[[str], str]:
    """Return a function that writes all quotes alike, or changes nothing in a domain where the two kinds of quotes differ."""
    are_equal = domain.normalise('x = "a"') == domain.normalise("x = 'a'")
    return (lambda text: text.replace('"', "'")) if are_equal else str


def _is_text(text: str) -> bool:
    """Return whether ``text`` is neither empty nor a part of a character.

    A tokenizer may cut the bytes of one character into several tokens, which are spelt with U+FFFD or a surrogate.
    """
    return bool(text) and "\ufffd" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def greedy_start(program: ProgramReading, length: int) -> int:
    """Return the offset, in characters, from which on the model would greedily write the rest of the program as it is.

    It is the end of the last token in whose place the model prefers another one, or 0 if there is no such token. Only the first
    ``length`` characters count, which are the program. What the model would write after them does not matter here.
    """
    inside = np.array(program.starts[:-1]) < length
    surprising = program.reading.others_log_likelihood[:, 0] > program.reading.log_likelihood
    places = np.flatnonzero(inside & surprising)
    return program.starts[int(places[-1]) + 1] if places.size else 0


@dataclass(frozen=True)
class Line:
    """A line of a program. A fork keeps its beginning and writes the rest of it anew."""

    start: int
    """The offset in the program's body, in characters, at which the fork begins."""
    rest: str
    """The program's body after the line, from the newline on; "" if the line is the last one."""

    def replaced_by(self, text: str) -> str:
        """Return the body with the new line of ``text``.

        ``text`` is the body up to ``start``, followed by what the fork wrote. Only the first line that it wrote counts.
        """
        end = text.find("\n", self.start)
        return (text if end < 0 else text[:end]) + self.rest

    def is_complete(self, text: str) -> bool:  # noqa: ARG002
        """Return True. The decoder asks this whenever it has written a line, and one line is all that is wanted."""
        return True


@dataclass(frozen=True)
class Insertion:
    """A place above a line of a program, where a fork writes a statement that the program lacks."""

    start: int
    """The offset in the program's body, in characters, at which the line begins."""
    below: str
    """The program's body from that line on."""

    def replaced_by(self, text: str) -> str:
        """Return the body with the new statement.

        ``text`` is the body up to ``start``, followed by the statement that the fork wrote.
        """
        return f"{text.rstrip()}\n{self.below}"

    def is_complete(self, text: str) -> bool:
        """Return whether the fork has written a whole statement.

        A statement that opens a block is complete once the block has a line of its own.
        """
        return not text[self.start :].rstrip().endswith(_CONTINUED)


def line_at(program: ProgramReading, position: int) -> Line:
    """Return the line of the program in which token ``position`` stands, for a fork that begins at this token."""
    start = program.starts[position]
    end = program.body.find("\n", start)
    return Line(start, program.body[end:] if end >= 0 else "")


def line_filter(program: ProgramReading, allows: ForkFilter, domain: Domain) -> ForkFilter:
    """Return a filter for forks of a single line. Beside what ``allows`` refuses, it refuses three things.

    - Tokens that end the line. Dropping the rest of a line has been tried before as an edit (``edits/by_token.py``).
    - Tokens that begin a comment or a docstring, since these change nothing.
    - Positions after the program's body.
    """

    def allows_line(position: int, choice: int) -> bool:
        text = program.speller.spell(choice)
        is_comment = bool(text.strip()) and not domain.tokens(text)
        writes_code = "\n" not in text and not is_comment and not text.lstrip().startswith(('"""', "'''"))
        return writes_code and program.starts[position] < len(program.body) and allows(position, choice)

    return allows_line


def insertion_at(program: ProgramReading, position: int) -> Insertion:
    """Return the place above the line that begins with token ``position`` of the program."""
    start = program.body.rfind("\n", 0, program.starts[position]) + 1
    return Insertion(start, program.body[start:])


def insertion_filter(program: ProgramReading, allows: ForkFilter) -> ForkFilter:
    """Return a filter for forks that insert a statement above a line.

    It allows what ``allows`` allows, but only at tokens with which a line begins, and not in the program's first line.
    """

    def allows_insertion(position: int, choice: int) -> bool:
        lines_above, newline, indentation = program.body[: program.starts[position]].rpartition("\n")
        begins_a_line = bool(newline) and not indentation.strip()
        return begins_a_line and bool(lines_above.strip()) and allows(position, choice)

    return allows_insertion
