"""Find the places at which a fork leaves a failed program, and notice when a fork only writes the same program again.

A fork keeps the program up to a place, puts the token there that the model would rather have, and lets the model write on. Where a
model reads a bug that someone else wrote, the most surprising place is most often the bug itself. Its own greedy program never
surprises the model. There the places are ordered by how much the model hesitated, and many forks find their way back into the
program that they left.

A fork may also write one line alone, after which the program goes on as it was. It costs a dozen tokens, and several may begin at
the same place with different tokens. Where a bug removed something, such as the value of a ``return``, these mend more than forks
of the whole rest do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from mlx_selfdebug.domains.base import Domain

if TYPE_CHECKING:
    from mlx_selfdebug.repair.reading import ProgramReading
    from mlx_selfdebug.sampling.reading import Reading

TRIALS = frozenset({"print", "assert", "if"})
"""The words with which a line outside of all blocks begins if it only tries the program out and is no part of it.

They are Python's. In other domains nothing is recognised as a trial.
"""


@dataclass(frozen=True)
class Fork:
    """A place at which to leave a program, and the token to leave it with."""

    position: int
    """The index of the program's token that is replaced."""
    choice: int
    """The id of the token that replaces it."""
    log_ratio: float
    """By how many nats the model finds ``choice`` likelier there than the program's own token."""


_OPEN = (":", ",", "(", "[", "{", "\\")
"""What a line of Python ends with if the statement goes on in the next one."""
MAX_PIECES = 8
"""The largest number of the program's tokens that are joined to see whether they spell the text of one other token."""

ForkFilter = Callable[[int, int], bool]
"""Decides from a position and a token id whether a fork may take the token at that position."""


def forks_of(
    reading: Reading, max_forks: int, allows: ForkFilter = lambda _position, _choice: True, *, per_place: int = 1
) -> list[Fork]:
    """Return at most ``max_forks`` forks, with the largest log p(choice) - log p(own token) first.

    There are at most ``per_place`` forks at one place, which take the likeliest tokens that ``allows`` allows there. Of equal forks
    the one at the earlier place comes first.
    """
    ratios = reading.others_log_likelihood - reading.log_likelihood[:, None]
    forks: list[Fork] = []
    at_place: Counter[int] = Counter()
    for flat in np.argsort(-ratios, axis=None, kind="stable"):
        if len(forks) >= max_forks:
            break
        position, rank = (int(i) for i in np.unravel_index(flat, ratios.shape))
        choice = int(reading.others[position, rank])
        if at_place[position] < per_place and allows(position, choice):
            at_place[position] += 1
            forks.append(Fork(position, choice, float(ratios[position, rank])))
    return forks


def fork_filter(program: ProgramReading, end_ids: frozenset[int], domain: Domain) -> ForkFilter:
    """Return a function that decides which tokens a fork may take where in ``program``.

    It refuses tokens that end the turn, tokens that are not text by themselves, and tokens that leave the text as it is. Those last
    ones only cut it into other tokens, or write other quotes where the domain treats quotes as equal.
    """
    quotes = _quotes(domain)
    texts = [quotes(program.speller.spell(id_)) for id_ in program.ids]

    def allows(position: int, choice: int) -> bool:
        text = program.speller.spell(choice)
        leaves_text_as_it_is = quotes(text) in accumulate(texts[position : position + MAX_PIECES])
        return choice not in end_ids and _is_text(text) and not leaves_text_as_it_is

    return allows


@dataclass(frozen=True)
class Line:
    """A line of a program, of which a fork keeps the beginning and writes the rest anew."""

    start: int
    """The character of the program's body at which the fork begins."""
    rest: str
    """The program's body after the line, from the newline on; "" if the line is the last one."""

    def replaced_by(self, text: str) -> str:
        """Return the body with the line of ``text``, which begins as the body does and may go on for longer than the line."""
        end = text.find("\n", self.start)
        return (text if end < 0 else text[:end]) + self.rest

    def is_complete(self, text: str) -> bool:  # noqa: ARG002
        """Return whether the lines that were written so far are all that is wanted: the first one is."""
        return True


@dataclass(frozen=True)
class Insertion:
    """A place above a line of a program, where a fork writes a statement that the program lacks."""

    start: int
    """The character of the program's body at which the line begins."""
    below: str
    """The program's body from that line on."""

    def replaced_by(self, text: str) -> str:
        """Return the body with the statement of ``text``, which begins as the body does above the line."""
        return f"{text.rstrip()}\n{self.below}"

    def is_complete(self, text: str) -> bool:
        """Return whether the lines that were written so far end with a whole statement. A block has one statement."""
        return not text[self.start :].rstrip().endswith(_OPEN)


def insertion_at(program: ProgramReading, position: int) -> Insertion:
    """Return the place above the line of the program that token ``position`` begins."""
    start = program.body.rfind("\n", 0, program.starts[position]) + 1
    return Insertion(start, program.body[start:])


def insertion_filter(program: ProgramReading, allows: ForkFilter) -> ForkFilter:
    """Return a filter for forks that insert a statement: ``allows``, at tokens that begin a line other than the first."""

    def allows_insertion(position: int, choice: int) -> bool:
        start = program.starts[position]
        above, newline, before = program.body[:start].rpartition("\n")
        return bool(newline and above.strip()) and not before.strip() and allows(position, choice)

    return allows_insertion


def line_at(program: ProgramReading, position: int) -> Line:
    """Return the line of the program in which token ``position`` stands, for a fork that begins at this token."""
    start = program.starts[position]
    end = program.body.find("\n", start)
    return Line(start, program.body[end:] if end >= 0 else "")


def line_filter(program: ProgramReading, allows: ForkFilter, domain: Domain) -> ForkFilter:
    """Return a filter for forks of a single line: ``allows``, without tokens that end a line or begin a comment or docstring.

    What ends a line at once has been tried as an edit of a token, and a comment changes nothing.
    """

    def allows_line(position: int, choice: int) -> bool:
        text = program.speller.spell(choice)
        comments = bool(text.strip()) and not domain.tokens(text)
        writes_code = "\n" not in text and not comments and not text.lstrip().startswith(('"""', "'''"))
        return writes_code and program.starts[position] < len(program.body) and allows(position, choice)

    return allows_line


def greedy_start(program: ProgramReading, length: int) -> int:
    """Return the index of the first character from which the model would write the rest of the program itself.

    ``length`` is the number of characters in the program. What the model would write after the program does not matter here.
    """
    inside = np.array(program.starts[:-1]) < length
    surprising = program.reading.others_log_likelihood[:, 0] > program.reading.log_likelihood
    places = np.flatnonzero(inside & surprising)
    return program.starts[int(places[-1]) + 1] if places.size else 0


def returns_to_known_program(
    failed: str, others: Sequence[str], domain: Domain, *, after: int, greedy_from: int = 0
) -> Callable[[str], bool]:
    """Return a test for ``Request.ended``: has a greedy fork of ``failed`` found its way back into a program that is known?

    The known programs are ``failed`` and ``others``, the programs that its earlier forks wrote. A fork that is back in one of them
    is ended, because it would only write the rest of that program again. ``after`` is the number of characters before the token
    that the fork begins with. ``greedy_from`` is the character from which on the model would write ``failed`` as it is.

    The fork counts as back in a program under these conditions:

    - The line of the fork's own token and at least one more line of code are those of the program, whatever their layout, comments
      and docstrings. One line is too little, since a changed comment may be what changes the line after it.
    - In ``failed``, the fork has come as far as ``greedy_from``. Before that the model would leave ``failed`` again, at the next
      place that surprises it.
    - In the program of another fork, it has come past the place where that program leaves ``failed``. Before that nothing says that
      this fork will leave ``failed`` too.
    - Some of the program is still missing. Once all of it is written, ending the fork saves nothing, and more may follow.
    """
    failed_tokens = lexical(failed, domain)
    known = [(failed_tokens, len(lexical(failed.strip("\n")[:greedy_from], domain)))]
    known += [
        (code, common_length(code, failed_tokens) + 1)
        for code in (lexical(other, domain) for other in others)
        if code != failed_tokens
    ]

    def ended(text: str) -> bool:
        tokens = lexical(text, domain)
        n = len(tokens)
        matching = [code for code, min_tokens in known if min_tokens <= n < len(code) and code[:n] == tokens]
        if not matching:
            return False
        line_ends = [i for i, character in enumerate(text) if character == "\n" and i >= after]
        beginnings = (lexical(text[:end], domain) for end in line_ends)
        # A line inside a docstring matches no program, so the first line that matches one may come later.
        shortest_match = next(
            (beginning for beginning in beginnings if any(code[: len(beginning)] == beginning for code in matching)),
            tokens,
        )
        return n > len(shortest_match)

    return ended


def repeats(failed: str, domain: Domain) -> Callable[[str], bool]:
    """Return a test for ``Request.ended``: has a repair written all of ``failed`` again, and does it now try the program out?

    Before it does so, a repair may still add what the program lacks: a ``return`` at its end, a helper, a constant.
    """
    failed_tokens = lexical(failed, domain)
    n = len(failed_tokens)

    def ended(text: str) -> bool:
        tokens = lexical(text, domain)
        added = tokens[n:]
        return bool(n) and len(added) > 1 and tokens[:n] == failed_tokens and added[0] == "\n" and added[1] in TRIALS

    return ended


def copied_program(text: str, tried: Sequence[str], domain: Domain) -> str:
    """Return the program that a completion which was ended as a copy is a copy of.

    It is the first of ``tried`` with which the completion agrees as far as both go, or the first of all if there is none.
    """
    tokens = lexical(text, domain)
    for code in tried:
        code_tokens = lexical(code, domain)
        n = min(len(code_tokens), len(tokens))
        if n and code_tokens[:n] == tokens[:n]:
            return code
    return tried[0]


def lexical(code: str, domain: Domain) -> list[str]:
    """Return the lexical tokens of ``code`` without its docstrings.

    They are the same for programs that differ in comments, docstrings, empty lines and spaces alone. The tokens of the first few
    whole lines of a program are the first tokens of the program.
    """
    tokens = list(domain.tokens(code.strip("\n")))
    dropped = {i for i in range(2, len(tokens)) if _is_docstring(tokens, i)}
    return [token for i, token in enumerate(tokens) if i not in dropped and i + 1 not in dropped]


def _is_docstring(tokens: Sequence[str], i: int) -> bool:
    """Return whether token ``i`` is a string that stands alone after a colon and is followed by nothing more or less indented."""
    if not (tokens[i].endswith(("'", '"')) and tokens[i - 1].startswith("\n") and tokens[i - 2] == ":"):
        return False
    return i + 1 == len(tokens) or tokens[i + 1] == tokens[i - 1]


def _quotes(domain: Domain) -> Callable[[str], str]:
    """Return a function that writes all quotes alike, or changes nothing in a domain where the two kinds of quotes differ."""
    are_equal = domain.normalise('x = "a"') == domain.normalise("x = 'a'")
    return (lambda text: text.replace('"', "'")) if are_equal else str


def common_length(a: Sequence[object], b: Sequence[object]) -> int:
    """Return how many of their first elements two sequences have in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _is_text(text: str) -> bool:
    """Return whether ``text`` is neither empty nor a part of a character."""
    return bool(text) and "\ufffd" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
