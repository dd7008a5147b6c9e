"""Read a program under its task's statement, as if the program were the model's own answer to the statement.

    print(read(model, task, "def add(a, b):\\n    return a - b\\n"))     # def add(a, b):
                                                                        #     return a [- -> +] b

Where the model finds a token unlikely, it would have written something else. A bug in a program that someone else wrote is often
at such a place. The model's own programs surprise it much less. The forward pass itself is in ``sampling/reading.py``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import UnreadableError
from mlx_selfdebug.repair.asking import Asking, Decoding
from mlx_selfdebug.repair.program_reading import ProgramReading, Speller
from mlx_selfdebug.values.task import Task

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model
    from mlx_selfdebug.sampling.reading import Reading

_Key = tuple[str, str, tuple[int, ...], tuple[int, ...]]
"""All that a reading depends on: the task's id, the code, the token ids of the prompt, and its breaks."""
MAX_REMEMBERED = 32
"""The largest number of readings that are remembered. The reading of a program of 100 tokens takes half a megabyte."""


class Decoder(Protocol):
    """The part of a decode batch that reads programs. It uses the keys and values that the batch has of the prompts."""

    def read(self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = ()) -> Reading:
        """Read ``program`` as the completion of ``prompt``; see ``sampling.reading.Reader.read``."""

    def log_likelihood(
        self, prompt: tuple[int, ...], reading: Reading, program: tuple[int, ...], breaks: Sequence[int] = ()
    ) -> float:
        """Return the log-likelihood of ``program`` in nats; see ``sampling.reading.Reader.log_likelihood``."""


class Readings:
    """A reader of programs that remembers its latest readings. ``speller`` and ``decoder`` belong to the same model."""

    def __init__(self, speller: Speller, decoder: Decoder) -> None:
        self._speller, self._decoder = speller, decoder
        self._remembered: OrderedDict[_Key, ProgramReading] = OrderedDict()
        """The readings. The one that was used last is at the end."""

    def read(self, task: Task, code: str, prompt: str, ids: tuple[int, ...], breaks: tuple[int, ...]) -> ProgramReading:
        """Return the reading of ``code`` as an answer to ``task``.

        Args:
            task: the task.
            code: the program.
            prompt: the message that asks for ``task``.
            ids: the token ids of the chat with this message.
            breaks: positions in ``ids``, ascending, up to which other prompts may be the same.

        Raises:
            UnreadableError: the program is empty, or does not fit the model's context.
            ModelError: the model's logits are not numbers.
        """
        key = task.id, code, ids, breaks
        if key not in self._remembered:
            self._remembered[key] = self._read(task, code, prompt, ids, breaks)
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        return self._remembered[key]

    def log_likelihoods(self, program: ProgramReading, codes: Sequence[str]) -> list[float]:
        """Return the log-likelihood, in nats, of each of ``codes`` as an answer to the prompt of ``program``."""
        completions = self._speller.encode_all([program.domain.completion(code) for code in codes])
        return [
            self._decoder.log_likelihood(program.prompt_ids, program.reading, tuple(ids), program.breaks)
            for ids in completions
        ]

    def _read(
        self, task: Task, code: str, prompt: str, ids: tuple[int, ...], breaks: tuple[int, ...]
    ) -> ProgramReading:
        """Have the decoder read a program that is not remembered."""
        domain = domain_of(task.domain)
        if not code.strip():
            raise UnreadableError("an empty program cannot be read")
        program_ids, starts = self._speller.spans(domain.completion(code))
        return ProgramReading(
            prompt=prompt,
            prompt_ids=ids,
            breaks=breaks,
            code=code,
            ids=tuple(program_ids),
            starts=tuple(starts),
            reading=self._decoder.read(ids, tuple(program_ids), breaks),
            domain=domain,
            speller=self._speller,
        )


def unread(speller: Speller, task: Task, code: str) -> ProgramReading:
    """Return a stand-in for the reading of a program that no model reads, so that edits of its syntax can be made.

    All tokens of ``code`` count as equally likely, and there are no tokens that a model would rather have written. Raises
    UnreadableError if the program is empty.
    """
    # Importing this at the top would load MLX, which the classes of this module do not need.
    from mlx_selfdebug.sampling.reading import indifferent_reading

    domain = domain_of(task.domain)
    if not code.strip():
        raise UnreadableError("an empty program cannot be read")
    ids, starts = speller.spans(domain.completion(code))
    return ProgramReading(
        prompt="",
        prompt_ids=(),
        breaks=(),
        code=code,
        ids=tuple(ids),
        starts=tuple(starts),
        reading=indifferent_reading(ids, n_others=0),
        domain=domain,
        speller=speller,
    )


def read(model: Model, task: Task, code: str) -> ProgramReading:
    """Return how likely ``model`` finds each token of ``code`` as an answer to ``task``, and what it would rather have written.

    In a notebook the result shows itself as a picture, the code shaded by surprise. Printed, it marks the most surprising token of
    each line. Raises ModelError if the program is empty, or if it does not fit the model's context together with its task.
    """
    # Importing these at the top would load MLX, which the classes of this module do not need.
    from mlx_selfdebug.sampling.prefixes import Prefixes
    from mlx_selfdebug.sampling.reading import Reader

    # Nothing is decoded here. The settings only have to leave room for one token of completion.
    decoding = Decoding(temperature=0.0, min_p=0.0, max_tokens=1, batch_size=1, budget_bytes=0)
    question = Asking(model, [task], decoding, run_seed=0, arm="").question(task)
    # A limit of one byte: a single program is read, and none of its keys and values are kept for another.
    reader = Reader(model, Prefixes(model.network, chunk=512, max_bytes=1))
    return Readings(model, reader).read(task, code, question.prompt, question.ids, question.breaks)
