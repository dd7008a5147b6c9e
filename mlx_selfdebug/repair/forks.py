"""Find the places at which a fork leaves a failed program, and notice when a fork only writes the same program again.

A fork keeps the program up to a place, puts the token there that the model would rather have, and lets the model write the rest. In
a program that someone else wrote, the place that surprises the model most is most often the bug. A model's own greedy program never
surprises it. There the places are ordered by how close the model came to choosing another token, and many forks find their way
back into the program that they left.

A fork may also write a single line, after which the program goes on as it was. Such a fork costs a dozen tokens, and several may
begin at the same place with different tokens. Where a bug removed something, such as the value of a ``return``, they repair more
programs than forks of the whole rest do.
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
"""The words that begin a line outside of all blocks which only tries the program out and is no part of it.

They are Python's. In other domains nothing is recognised as a trial.
"""
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
"""Decides from a position and a token id whether a fork may take the token at that position."""


def forks_of(
    reading: Reading, max_forks: int, allows: ForkFilter = lambda _position, _choice: True, *, per_place: int = 1
) -> list[Fork]:
    """Return at most ``max_forks`` forks, with the largest log p(choice) - log p(own token) first.

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
        """Return True: this is asked whenever a line has been written, and one line is all that is wanted."""
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
    """Return a filter for forks of a single line: it is stricter than ``allows`` by three rules.

    It refuses tokens that end the line, since dropping the rest of a line has been tried as an edit of a token. It refuses tokens
    that begin a comment or a docstring, since these change nothing. And it refuses positions after the program's body.
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
    """Return a filter for forks that insert a statement: ``allows``, at tokens that begin a line other than the first."""

    def allows_insertion(position: int, choice: int) -> bool:
        start = program.starts[position]
        above, newline, before = program.body[:start].rpartition("\n")
        return bool(newline and above.strip()) and not before.strip() and allows(position, choice)

    return allows_insertion


def greedy_start(program: ProgramReading, length: int) -> int:
    """Return the offset, in characters, from which on the model would write the rest of the program as it is.

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
    that the fork begins with. ``greedy_from`` is the offset from which on the model would write ``failed`` as it is
    (``greedy_start``).

    The fork counts as back in a program if all of these conditions hold:

    - The line of the fork's own token and at least one more line of code are the same as in the program, whatever their layout,
      comments and docstrings. One line is too little, since a changed comment may be what changes the line after it.
    - In ``failed``, the fork has come as far as ``greedy_from``. Before that the model would leave ``failed`` again, at the next
      place that surprises it.
    - In the program of another fork, it has come past the place where that program leaves ``failed``. Before that nothing says that
      this fork will leave ``failed`` too.
    - Some of the program is still missing. Once all of it is written, ending the fork saves nothing, and more may follow.
    """
    failed_tokens = lexical(failed, domain)
    # Each known program as lexical tokens, with the number of them that a fork must have written to be back in the program.
    known = [(failed_tokens, len(lexical(failed.strip("\n")[:greedy_from], domain)))]
    known += [
        (other_tokens, common_length(other_tokens, failed_tokens) + 1)
        for other_tokens in (lexical(other, domain) for other in others)
        if other_tokens != failed_tokens
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
    """Return a test for ``Request.ended``: has a repair written all of ``failed`` again, and begun to try the program out?

    As long as it has not begun to, it may still add what the program lacks: a ``return`` at its end, a helper, a constant.
    """
    failed_tokens = lexical(failed, domain)
    n = len(failed_tokens)

    def ended(text: str) -> bool:
        tokens = lexical(text, domain)
        added = tokens[n:]
        return bool(n) and len(added) > 1 and tokens[:n] == failed_tokens and added[0] == "\n" and added[1] in TRIALS

    return ended


def copied_program(text: str, tried: Sequence[str], domain: Domain) -> str:
    """Return the program that ``text`` copies. ``text`` is a completion that was ended as a copy.

    It is the first program of ``tried`` that agrees with the completion as far as both go. If none agrees, it is the first of all.
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

    Programs that differ only in comments, docstrings, empty lines and spaces have the same tokens. The tokens of the first few
    lines of a program are the first tokens of the program, so a program can be compared while it is being written.
    """
    tokens = list(domain.tokens(code.strip("\n")))
    docstrings = {i for i in range(2, len(tokens)) if _is_docstring(tokens, i)}
    # The newline token before a docstring is dropped together with it.
    return [token for i, token in enumerate(tokens) if i not in docstrings and i + 1 not in docstrings]


def _is_docstring(tokens: Sequence[str], i: int) -> bool:
    """Return whether token ``i`` is a string alone on the first line of a block.

    A token of a newline also holds the indentation of the line that it begins, so equal tokens before and after the string mean
    that the block goes on at the same indentation.
    """
    if not (tokens[i].endswith(("'", '"')) and tokens[i - 1].startswith("\n") and tokens[i - 2] == ":"):
        return False
    return i + 1 == len(tokens) or tokens[i + 1] == tokens[i - 1]


def _quote_unifier(domain: Domain) -> Callable[[str], str]:
    """Return a function that writes all quotes alike, or changes nothing in a domain where the two kinds of quotes differ."""
    are_equal = domain.normalise('x = "a"') == domain.normalise("x = 'a'")
    return (lambda text: text.replace('"', "'")) if are_equal else str


def common_length(a: Sequence[object], b: Sequence[object]) -> int:
    """Return how many of their first elements two sequences have in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _is_text(text: str) -> bool:
    """Return whether ``text`` is neither empty nor a part of a character.

    A tokenizer may cut the bytes of one character into several tokens, which are spelt with U+FFFD or a surrogate.
    """
    return bool(text) and "\ufffd" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
