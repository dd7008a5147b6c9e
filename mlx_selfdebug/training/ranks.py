"""Divide a training among the ranks of a group, so that it equals the training of one machine.

Every rank has the same examples and the same weights. Of each step, a rank computes the gradient of its share of the examples. The
gradients are summed over the ranks, and every rank makes the same update. The loss is divided by the total weight of the examples
of the whole step. So the sum does not depend on how the step was divided among the ranks, up to rounding.

Different chips round differently, so the weights of rank 0 count: the others copy them at the start and at every check. Only rank 0
writes checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from mlx_selfdebug.models.backend import mx, nn, optim

from mlx.utils import tree_map

from mlx_selfdebug.distributed import Group
from mlx_selfdebug.training.checkpoint import Checkpoint

T = TypeVar("T")


def own_share(group: Group, items: Sequence[T], sizes: Sequence[int]) -> list[T]:
    """Return those of ``items`` that this rank computes, in their order. ``sizes`` holds how much each item costs, in any unit.

    Again and again, the largest item that is left goes to the rank that has least so far ("longest processing time first": Graham
    1969, "Bounds on Multiprocessing Timing Anomalies", SIAM Journal on Applied Mathematics 17). With sizes of 5, 4, 3 and 2 and two
    ranks, one rank gets 5 and 2, and the other 4 and 3.
    """
    if group.size == 1:
        return list(items)
    loads = [0] * group.size
    own: list[int] = []
    for place in sorted(range(len(items)), key=lambda i: (-sizes[i], i)):
        rank = loads.index(min(loads))
        loads[rank] += sizes[place]
        if rank == group.rank:
            own.append(place)
    return [items[place] for place in sorted(own)]


def summed(group: Group, network: nn.Module, loss: float, gradient: Any) -> tuple[float, Any]:
    """Return the loss and the gradient, summed over the ranks. ``gradient`` is None on a rank that had nothing to compute."""
    if group.size == 1:
        return loss, gradient
    if gradient is None:
        gradient = tree_map(mx.zeros_like, network.trainable_parameters())
    total, gradient = group.sum([mx.array(loss, mx.float32), gradient])
    return float(total.item()), gradient


def copy_weights(group: Group, network: nn.Module, optimizer: optim.Optimizer | None = None) -> None:
    """Give the trainable weights of ``network``, and the state of ``optimizer``, the values that they have on rank 0."""
    if group.size == 1:
        return
    network.update(group.copy_of_first(network.trainable_parameters()))
    mx.eval(network.trainable_parameters())
    if optimizer is not None:
        optimizer.state = group.copy_of_first(optimizer.state)
        mx.eval(optimizer.state)


def checkpoint_of_first(group: Group, checkpoint: Checkpoint | None) -> Checkpoint | None:
    """Return, on every rank, the checkpoint that rank 0 gives, or None if it gives None. What other ranks give does not matter."""
    if group.size == 1:
        return checkpoint
    described = group.agree(lambda: _describe(checkpoint) if checkpoint else None)
    if described is None:
        return None
    own = checkpoint if checkpoint and group.is_first else Checkpoint(0, *map(_zeros, described["parts"]))
    adapter, state = (_copy_arrays(group, part) for part in (own.adapter, own.optimizer))
    return Checkpoint(described["step"], adapter, state)


def _copy_arrays(group: Group, arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Return the arrays of rank 0 by their names. They are sent as a list, because the dots in the names would make a tree."""
    names = sorted(arrays)
    return dict(zip(names, group.copy_of_first([arrays[name] for name in names]), strict=True))


def _describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the step of a checkpoint, and the dtypes and shapes of its arrays, as JSON data."""
    parts = [
        {name: [str(array.dtype).removeprefix("mlx.core."), array.shape] for name, array in part.items()}
        for part in (checkpoint.adapter, checkpoint.optimizer)
    ]
    return {"step": checkpoint.step, "parts": parts}


def _zeros(described: Mapping[str, tuple[str, Sequence[int]]]) -> dict[str, mx.array]:
    """Return arrays of zeros with the names, dtypes and shapes that ``_describe`` has returned."""
    return {name: mx.zeros(tuple(shape), getattr(mx, dtype)) for name, (dtype, shape) in described.items()}
