"""Define the group of processes that work on one run, and what they can do in step: gather, agree and sum.

Each process is called a rank, as in MPI, and has a number from 0 on:

    group = join()                                          # in every process; see launched.py
    group.gather_json({"free_gb": 12 + group.rank})         # [{"free_gb": 12}, {"free_gb": 13}], on both ranks
    group.agree(lambda: draw_tasks())                       # what rank 0 has drawn, on both ranks

Every rank has to make the same calls in the same order. Each call returns the same value on all ranks. If a rank waits too long for
the others, its process is ended with a message, so that nothing hangs when a machine is switched off.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from mlx_selfdebug.errors import DistributedError, SelfDebugError

if TYPE_CHECKING:
    from mlx_selfdebug.models.backend import mx

T = TypeVar("T")

WAIT_S = 1800.0
"""The longest time that a rank waits for the others, in seconds. They may be busy with a long step in the meantime."""


@dataclass(frozen=True)
class Group:
    """The ranks that work together, as one of them sees it."""

    rank: int
    """The number of this process, from 0 on. Rank 0 holds the run that counts and speaks to the user."""
    size: int
    """The number of ranks."""
    _group: Any = field(default=None, repr=False)
    """The group of ``mx.distributed``, or None if there is a single rank."""
    on_gpu: bool = False
    """Whether messages are arrays of the GPU, which NCCL needs. The other backends send from the CPU."""
    wait_s: float = WAIT_S
    """The longest time that this rank waits for the others, in seconds."""

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def gather(self, value: bytes) -> list[bytes]:
        """Return the values of all ranks, in the order of their ranks."""
        if self.size == 1:
            return [value]
        import numpy as np

        lengths = self.gather_array(np.array([[len(value)]], np.uint32))[:, 0]
        padded = np.zeros((1, max(1, int(lengths.max()))), np.uint8)
        padded[0, : len(value)] = np.frombuffer(value, np.uint8)
        rows = self.gather_array(padded)
        return [row[:length].tobytes() for row, length in zip(rows, lengths, strict=True)]

    def gather_json(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in the order of their ranks. A value is JSON data."""
        packed = zlib.compress(json.dumps(value).encode())
        return [json.loads(zlib.decompress(gathered)) for gathered in self.gather(packed)]

    def agree(self, compute: Callable[[], T]) -> T:
        """Return, on every rank, what ``compute`` returns on rank 0, which is JSON data. The other ranks do not call ``compute``.

        If ``compute`` raises an error of this package, rank 0 raises that error, and the others raise DistributedError.
        """
        if self.size == 1:
            return compute()
        value, error = _attempt(compute) if self.is_first else (None, None)
        value, message = self.gather_json([value, str(error) if error else None])[0]
        self._raise_first([message], error)
        agreed: T = value
        return agreed

    def together(self, do: Callable[[], T]) -> T:
        """Call ``do`` on every rank, and return what it returns on this one if it succeeds on all ranks.

        If ``do`` raises errors of this package, every rank raises the error of the lowest rank that has one. Rank 0 raises its own
        error as it is. All other cases are a DistributedError with the message. ``do`` must not wait for other ranks.
        """
        if self.size == 1:
            return do()
        value, error = _attempt(do)
        self._raise_first(self.gather_json(str(error) if error else None), error)
        result: T = value
        return result

    def require_same(self, facts: Mapping[str, Any]) -> None:
        """Raise DistributedError if a fact, such as a version, is not the same on all ranks. The message names one such fact."""
        first, *others = self.gather_json(dict(facts))
        for rank, facts_there in enumerate(others, 1):
            for name, value in first.items():
                if facts_there.get(name) != value:
                    raise DistributedError(
                        f"rank {rank} has another {name} than rank 0: {facts_there.get(name)} instead of {value}",
                        hint="give all machines the same packages, model and settings",
                        on_all_ranks=True,
                    )

    def sum(self, tree: T) -> T:
        """Return a tree of arrays, or a single array, summed over all ranks. All arrays of the same dtype travel as one message."""
        if self.size == 1:
            return tree
        from mlx_selfdebug.models.backend import mx

        from mlx.utils import tree_flatten, tree_unflatten

        named: Any = tree_flatten(tree)
        summed: dict[str, mx.array] = {}
        for dtype in {array.dtype for _, array in named}:
            same = [(name, array) for name, array in named if array.dtype == dtype]
            flat = mx.concatenate([array.reshape(-1) for _, array in same])
            total = mx.distributed.all_sum(flat, group=self._group, stream=self.stream())
            self.evaluate(total)
            start = 0
            for name, array in same:
                summed[name] = total[start : start + array.size].reshape(array.shape)
                start += array.size
        result: T = tree_unflatten([(name, summed[name]) for name, _ in named])
        return result

    def copy_of_first(self, tree: T) -> T:
        """Return the arrays of rank 0. The other ranks give arrays of the same names and shapes, whose values do not matter."""
        if self.size == 1:
            return tree
        from mlx_selfdebug.models.backend import mx

        from mlx.utils import tree_map

        # MLX has no broadcast, so this is a sum to which the other ranks add zeros.
        return self.sum(tree if self.is_first else tree_map(mx.zeros_like, tree))

    def gather_array(self, row: Any) -> Any:
        """Return the rows of all ranks as one numpy array. ``row`` has the shape (1, n), with the same n on every rank."""
        import numpy as np

        gathered = self.begin_gather(row)
        self.evaluate(gathered)
        return np.array(gathered)

    def begin_gather(self, row: Any) -> mx.array:
        """Begin to gather the rows of all ranks, and return the array that will hold them, of shape (ranks, n).

        For ``row`` see ``gather_array``. Wait for the array with ``evaluate`` before it is used.
        """
        from mlx_selfdebug.models.backend import mx

        gathered = mx.distributed.all_gather(mx.array(row), group=self._group, stream=self.stream())
        mx.async_eval(gathered)  # type: ignore[no-untyped-call]
        return gathered

    def evaluate(self, array: mx.array) -> None:
        """Wait until the messages that ``array`` depends on have arrived from the other ranks.

        Raises DistributedError if another rank has gone. If the messages do not come for ``wait_s`` seconds, this process ends with
        exit code 1, because nothing can interrupt a wait inside MLX.
        """
        from mlx_selfdebug.models.backend import mx

        silent = (
            f"Error: rank {self.rank} has waited {self.wait_s:.0f} seconds for the other ranks\n"
            "  help: what is finished is stored; see which machine does not answer, then run the same command again"
        )
        try:
            with _exit_after(self.wait_s, silent):
                mx.eval(array)
        except RuntimeError as error:
            raise DistributedError(
                f"rank {self.rank} has lost another rank: {error}",
                hint="what is finished is stored; see why the other rank ended, then run the same command again",
            ) from error

    def _raise_first(self, messages: Sequence[str | None], own: SelfDebugError | None) -> None:
        """Raise the error of the lowest rank that has one, if any has one.

        ``messages`` holds the message of each rank's error, or None. ``own`` is the error of this rank.
        """
        for rank, message in enumerate(messages):
            if message is None:
                continue
            if own and rank == self.rank == 0:
                raise own
            raise DistributedError(f"rank {rank}: {message}", on_all_ranks=True)

    def stream(self) -> Any:
        """Return the stream on which messages are sent. The model has another stream, so sending does not wait for computing."""
        from mlx_selfdebug.models.backend import mx

        if not _STREAMS:
            _STREAMS.append(mx.new_stream(mx.gpu if self.on_gpu else mx.cpu))
        return _STREAMS[0]


_STREAMS: list[Any] = []
"""The stream on which this process sends messages, once it is made. It is made late, because it needs MLX."""

ALONE = Group(0, 1)
"""The group of a process that works by itself."""


def _attempt(do: Callable[[], Any]) -> tuple[Any, SelfDebugError | None]:
    """Return what ``do`` returns, or the error of this package that it raises."""
    try:
        return do(), None
    except SelfDebugError as error:
        return None, error


@contextmanager
def _exit_after(seconds: float, message: str) -> Iterator[None]:
    """End this process, after printing ``message``, if the block takes more than ``seconds`` seconds."""

    def end() -> None:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
