"""Measure a training step on 1, 2 and 4 ranks of this machine, compare it with a model of scaling, and apply that model to Macs.

    python benchmarks/ranks.py [--steps 15] [--hidden 256] [--layers 6]

Every rank has one thread, so that more ranks do not only share the same cores more finely. Of each step, all ranks first compute
their shares at the same time without passing anything on, and then the same step as in training, with the gradients summed. The
model says that a step takes as long as the slowest share and the sum:

    step(n) = max over ranks of share_s + 2 (n - 1) * latency of a round + 2 (n - 1) / n * bytes of the gradient / bandwidth

The latency and the bandwidth are measured with two ranks only, so the row of four ranks is a prediction. ``error`` is the predicted
time divided by the measured one, minus 1.

The table of Macs is arithmetic: speeds from ``bench/predict.py``, and links as assumed below. Nothing of it was measured on a Mac.
Prints both tables, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

RANKS = (1, 2, 4)
BATCH, LENGTH = 8, 256
"""The pairs of a step, and the tokens of each."""
LINKS = {"Thunderbolt": (1.2e9, 0.2e-3), "1 Gbit Ethernet": (0.118e9, 0.4e-3), "Wi-Fi": (0.04e9, 3e-3)}
"""Assumed links: bytes per second and the seconds of a round."""
MACS = ("Apple M4", "Apple M4 Pro", "Apple M4 Max")
PARAMETERS, WEIGHTS_BYTES = 494_000_000, 278_000_000
"""Those of the model of half a billion parameters, in 4 bits."""
STEP_TOKENS = 8 * 350
"""The tokens of a step on a Mac: eight pairs of 350 tokens."""
GRADIENT_BYTES = 4 * 16 * 24 * (2 * (896 + 896) + 2 * (896 + 128) + 3 * (896 + 4864))
"""The gradient of an adapter of rank 16 on all linear layers of this model, in float32."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rank-program", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank_program:
        measure(arguments)
        return
    measured = [launch(n, arguments) for n in RANKS]
    rows = compare(measured)
    macs = on_macs()
    print_table(["ranks", "slowest share s", "step s", "predicted s", "error", "speed-up"], rows)
    print()
    print_table(["chip", "link", *(f"{n} Macs" for n in (1, 2, 4, 8, 16))], macs)
    print(f"\nsteps of {STEP_TOKENS} tokens per second of one Mac, and how many times as many n Macs make (arithmetic)")
    print(json.dumps({
        "machine": platform.processor() or platform.machine(), "python": platform.python_version(), "mlx": version("mlx"),
        "measured": measured, "rows": rows, "macs": macs,
    }))  # fmt: skip


def launch(n: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run this file as ``n`` ranks of one thread each, and return what rank 0 measured."""
    ports = free_ports(n)
    with tempfile.TemporaryDirectory() as folder:
        hosts = Path(folder) / "hosts.json"
        hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in ports]) if n > 1 else "")
        one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = {**os.environ, **one_thread, "MLX_HOSTFILE": str(hosts)}
        command = [sys.executable, __file__, "--rank-program", "--steps", str(arguments.steps)]
        command += ["--hidden", str(arguments.hidden), "--layers", str(arguments.layers)]
        ranks = [
            subprocess.Popen(
                command,
                env={**environment, "MLX_RANK": str(rank)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(n)
        ]
        outputs = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise SystemExit(f"{n} ranks: exit codes {[rank.returncode for rank in ranks]}")
    result: dict[str, Any] = json.loads(outputs[0].splitlines()[-1])
    return result


def measure(arguments: argparse.Namespace) -> None:
    """Measure this rank's share of a step, and the whole step. Rank 0 prints both, and the link, as one JSON line."""
    from mlx_selfdebug.models.backend import mx

    from mlx.utils import tree_flatten

    from mlx_selfdebug.config import load_config
    from mlx_selfdebug.distributed import join
    from mlx_selfdebug.distributed.measure import measure_link
    from mlx_selfdebug.testing import tiny_model
    from mlx_selfdebug.training import loop
    from mlx_selfdebug.training.adapter import insert_adapter
    from mlx_selfdebug.training.batches import micro_batches
    from mlx_selfdebug.training.examples import Example
    from mlx_selfdebug.training.forms import training_forms
    from mlx_selfdebug.training.loss import loss_and_gradient
    from mlx_selfdebug.training.ranks import own_share

    group = join()
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(folder, hidden_size=arguments.hidden, layers=arguments.layers)
    insert_adapter(model.network, load_config(overrides={"train.rank": 16}, environment={}).train, 0)
    batch = [Example(tuple(j % 250 for j in range(LENGTH)), LENGTH // 2, f"pair {i}") for i in range(BATCH)]
    own = own_share(group, batch, [LENGTH] * BATCH)
    shares, steps = [], []
    for _ in range(arguments.steps + 2):
        group.gather(b"")  # all begin at the same time
        begin = time.perf_counter()
        with training_forms(model.network, recompute=False):
            for micro_batch in micro_batches(own, loop.StepShape().max_tokens):
                mx.eval(loss_and_gradient(model.network, micro_batch).gradient)
        shares.append(max(group.gather_json(time.perf_counter() - begin)))
        group.gather(b"")
        begin = time.perf_counter()
        with training_forms(model.network, recompute=False):
            loop._accumulated(model.network, batch, loop.StepShape().max_tokens, 0.0, group)
        steps.append(max(group.gather_json(time.perf_counter() - begin)))
    gradient = sum(array.nbytes for _, array in tree_flatten(model.network.trainable_parameters()))
    link = measure_link(group) if group.size > 1 else None
    if group.is_first:
        print(json.dumps({
            "ranks": group.size, "share_s": median(shares[2:]), "step_s": median(steps[2:]), "gradient_bytes": gradient,
            "latency_s": link.latency_s if link else None, "bytes_per_s": link.bytes_per_s if link else None,
        }))  # fmt: skip


def compare(measured: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return a row per number of ranks: what was measured, what the model predicts from the link of two ranks, and the error."""
    from mlx_selfdebug.distributed.measure import Link

    of_two = next(result for result in measured if result["ranks"] == 2)
    link = Link(2, of_two["latency_s"], of_two["bytes_per_s"])
    alone = measured[0]["step_s"]
    rows = []
    for result in measured:
        predicted = result["share_s"] + link.all_reduce_s(result["gradient_bytes"], result["ranks"])
        rows.append([
            str(result["ranks"]), f"{result['share_s']:.4f}", f"{result['step_s']:.4f}", f"{predicted:.4f}",
            f"{predicted / result['step_s'] - 1:+.1%}", f"{alone / result['step_s']:.2f}",
        ])  # fmt: skip
    return rows


def on_macs() -> list[list[str]]:
    """Return a row per chip and assumed link: the steps per second of one Mac, and the speed-ups of more of them."""
    from mlx_selfdebug.bench.predict import CHIPS, predict

    rows = []
    for name in MACS:
        alone = STEP_TOKENS / predict(CHIPS[name], PARAMETERS, WEIGHTS_BYTES).train_tokens_per_s
        for link, (bandwidth, round_s) in LINKS.items():
            cells = [f"{1 / alone:.2f} /s"]
            for n in (2, 4, 8, 16):
                # A step has eight pairs, so no more than eight ranks have one to compute.
                share = alone * -(-8 // n) / 8
                rounds = 2 * (n - 1)
                cells.append(f"{alone / (share + rounds * round_s + rounds / n * GRADIENT_BYTES / bandwidth):.2f}")
            rows.append([name, link, *cells])
    return rows


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from mlx_selfdebug.columns import columns

    print(columns([list(head), *map(list, rows)]))


if __name__ == "__main__":
    main()
