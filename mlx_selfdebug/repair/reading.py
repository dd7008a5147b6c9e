"""Reading a program under its task's statement, as if the model had answered the statement with it.

What the model finds unlikely there is where it would have written something else, and a bug in a program that someone else wrote is
often just such a place. A program of the model's own surprises it much less.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.base import Domain
from mlx_selfdebug.errors import UnreadableError
from mlx_selfdebug.repair.picture import Shade, as_html, as_text, shades_of
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model
    from mlx_selfdebug.sampling.reading import Reading

MAX_KNOWN = 32
"""Readings that are remembered: a program of 100 tokens takes half a megabyte."""


class Speller(Protocol):
    """What a program's reading needs of a model's tokenizer."""

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """Return the token ids of ``text``, and where in it each begins, with the text's length at the end."""

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text."""

    def spell(self, id_: int) -> str:
        """Return the text of one token as it stands inside a longer text."""


@dataclass(frozen=True, eq=False)
class ProgramReading:
    """A program and what the model found in it.

    ``body`` is the program without the empty lines around it: what was read and may be changed. ``starts`` (n + 1) says where each
    of the n tokens begins in the text that was read, which is the body and what closes a completion.
    """

    prompt: str
    prompt_ids: tuple[int, ...]
    breaks: tuple[int, ...]
    code: str
    ids: tuple[int, ...]
    starts: tuple[int, ...]
    reading: Reading
    domain: Domain = field(repr=False)
    speller: Speller = field(repr=False)

    @property
    def body(self) -> str:
        return self.code.strip("\n")

    @property
    def first_line(self) -> int:
        """Return the line of the program, from 1, in which its body begins."""
        return 1 + len(self.code) - len(self.code.lstrip("\n"))

    def shades(self) -> list[Shade]:
        """Return the body's tokens with the surprise of each: what the pictures are made of."""
        return shades_of(self)

    def __str__(self) -> str:
        """Return the program with the most surprising token of each line marked, and what the model would rather have there."""
        return as_text(self.shades())

    def _repr_html_(self) -> str:
        return as_html(self.shades())

    def code_of(self, body: str) -> str:
        """Return the program whose body is ``body``."""
        before, _, after = self.code.partition(self.body)
        return f"{before}{body}{after}"

    def completion_of(self, body: str) -> str:
        return self.domain.completion(body)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return self.speller.encode_all(texts)


class Decoder(Protocol):
    """What reads beside decoding: the decode batch, which has the keys and values of prompts."""

    def read(self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = ()) -> Reading: ...

    def log_likelihood(
        self, prompt: tuple[int, ...], reading: Reading, program: tuple[int, ...], breaks: Sequence[int] = ()
    ) -> float: ...


class Readings:
    """Reads programs with the decoder of a model, and remembers the latest of them."""

    def __init__(self, speller: Speller, decoder: Decoder) -> None:
        self._speller, self._decoder = speller, decoder
        self._known: OrderedDict[tuple[str, str], ProgramReading] = OrderedDict()

    def read(self, task: Task, code: str, prompt: str, ids: tuple[int, ...], breaks: tuple[int, ...]) -> ProgramReading:
        """Read ``code`` as an answer to ``task``, which is asked with ``prompt``, whose token ids are ``ids``.

        Raises ModelError for an empty program, and for one that does not fit the model's context.
        """
        key = task.id, code
        if key not in self._known:
            self._known[key] = self._read(task, code, prompt, ids, breaks)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def log_likelihoods(self, program: ProgramReading, codes: Sequence[str]) -> list[float]:
        """Return the log-likelihood of each program, in nats, as an answer to what ``program`` was read as an answer to."""
        completions = self._speller.encode_all([program.domain.completion(code) for code in codes])
        given = program.prompt_ids, program.reading
        return [self._decoder.log_likelihood(*given, tuple(ids), program.breaks) for ids in completions]

    def _read(
        self, task: Task, code: str, prompt: str, ids: tuple[int, ...], breaks: tuple[int, ...]
    ) -> ProgramReading:
        domain = domain_of(task.domain)
        if not code.strip():
            raise UnreadableError("an empty program cannot be read")
        program, starts = self._speller.spans(domain.completion(code))
        reading = self._decoder.read(ids, tuple(program), breaks)
        return ProgramReading(prompt, ids, breaks, code, tuple(program), tuple(starts), reading, domain, self._speller)


def read(model: Model, task: Task, code: str) -> ProgramReading:
    """Read ``code`` as an answer to ``task``: how likely the model finds each of its tokens, and what it would rather have written.

    In a notebook the result is a picture, the code shaded by surprise; printed, it marks the most surprising token of each line.
    Raises ModelError for an empty program, and for one that does not fit the model's context with its task.
    """
    from mlx_selfdebug.repair.asking import Asking, Decoding
    from mlx_selfdebug.sampling.prefixes import Prefixes
    from mlx_selfdebug.sampling.reading import Reader

    question = Asking(model, [task], Decoding(0.0, 0.0, 1, 1, 0), 0, "").question(task)
    reader = Reader(model, Prefixes(model.network, chunk=512, most_bytes=1))
    return Readings(model, reader).read(task, code, question.prompt, question.ids, question.breaks)
