"""Notice when a completion only writes a program again that is known to fail, so that it can be ended early.

Two sorts of completion do this:

- A repair returns the failed program that its prompt shows, and begins to try it out (``repeats``).
- A fork leaves a program with another token, such as one more word of a comment, and then goes on as the program does
  (``returns_to_known_program``).

Programs are compared by their lexical tokens. A program can be compared with a known one while it is still being written, because
the tokens of its first lines are the first of its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlx_selfdebug.domains.base import Domain

TRIALS = frozenset({"print", "assert", "if"})
"""The words that begin a line outside of all blocks which only tries the program out and is no part of it.

They are Python's. In other domains nothing is recognised as a trial.
"""


def repeats(failed: str, domain: Domain) -> Callable[[str], bool]:
    """Return a test for ``Request.ended``: has a repair written all of ``failed`` again, and begun to try the program out?

    A repair that has not begun to try the program out may still add what the program lacks: a ``return`` at its end, a helper, a
    constant.
    """
    failed_tokens = lexical(failed, domain)
    n = len(failed_tokens)

    def ended(text: str) -> bool:
        tokens = lexical(text, domain)
        added = tokens[n:]
        return bool(n) and len(added) > 1 and tokens[:n] == failed_tokens and added[0] == "\n" and added[1] in TRIALS

    return ended


@dataclass(frozen=True)
class _KnownProgram:
    """A program that a fork may find its way back into."""

    tokens: list[str]
    """The lexical tokens of the program."""
    min_tokens: int
    """The number of these tokens that a fork must have written before it may count as back in the program."""

    def may_continue(self, tokens: Sequence[str]) -> bool:
        """Return whether the program begins with ``tokens``, which are enough of them but not yet all."""
        n = len(tokens)
        return self.min_tokens <= n < len(self.tokens) and self.begins_with(tokens)

    def begins_with(self, tokens: Sequence[str]) -> bool:
        """Return whether the program begins with ``tokens``."""
        return self.tokens[: len(tokens)] == tokens


def returns_to_known_program(
    failed: str, others: Sequence[str], domain: Domain, *, after: int, greedy_from: int = 0
) -> Callable[[str], bool]:
    """Return a test for ``Request.ended``: has a greedy fork of ``failed`` found its way back into a program that is known?

    The known programs are ``failed`` and ``others``, the programs that its earlier forks wrote. A fork that is back in one of them
    is ended, because it would only write the rest of that program again. In this example the fork, on the right, begins with other
    words in the comment. It is ended after its second line, which is that of ``failed`` again:

        total = 0  # so far                       total = 0  # of all numbers
        for n in numbers:                         for n in numbers:
            total -= n

    The fork counts as back in a program if all of these conditions hold:

    - The line of the fork's own token and at least one more line of code are the same as in the program, whatever their layout,
      comments and docstrings. One line is too little, since a changed comment may be what changes the line after it.
    - In ``failed``, the fork has come as far as ``greedy_from``. Before that the model would leave ``failed`` again, at the next
      place that surprises it.
    - In the program of another fork, it has come past the place where that program leaves ``failed``. Before that nothing says that
      this fork will leave ``failed`` too.
    - Some of the program is still missing. Once all of it is written, ending the fork saves nothing, and more may follow.

    Args:
        failed: the program that was forked.
        others: the programs that earlier forks of ``failed`` wrote.
        domain: the domain of the task.
        after: the number of characters in the completion before the token that the fork begins with.
        greedy_from: the offset in ``failed``, in characters, from which on the model would write the rest of it as it is
            (``forks.greedy_start``).
    """
    known = _known_programs(failed, others, domain, greedy_from)

    def ended(text: str) -> bool:
        tokens = lexical(text, domain)
        matching = [program for program in known if program.may_continue(tokens)]
        if not matching:
            return False
        # Where the lines of the fork end. The first of them is the line of the fork's own token.
        line_ends = [i for i, character in enumerate(text) if character == "\n" and i >= after]
        beginnings = (lexical(text[:end], domain) for end in line_ends)
        # A line inside a docstring matches no program, so the first line that matches one may come later.
        shortest_match = next(
            (beginning for beginning in beginnings if any(program.begins_with(beginning) for program in matching)),
            tokens,
        )
        return len(tokens) > len(shortest_match)

    return ended


def _known_programs(failed: str, others: Sequence[str], domain: Domain, greedy_from: int) -> list[_KnownProgram]:
    """Return ``failed``, and those of ``others`` that differ from it, as programs that a fork may find its way back into."""
    failed_tokens = lexical(failed, domain)
    written_greedily_after = lexical(failed.strip("\n")[:greedy_from], domain)
    known = [_KnownProgram(failed_tokens, len(written_greedily_after))]
    for other in others:
        tokens = lexical(other, domain)
        if tokens != failed_tokens:
            known.append(_KnownProgram(tokens, common_length(tokens, failed_tokens) + 1))
    return known


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
    lines of a program are the first tokens of the program.
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


def common_length(a: Sequence[object], b: Sequence[object]) -> int:
    """Return how many of their first elements two sequences have in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
