"""Learn the weight of each kind of edit in the order of tries: the numbers in ``mlx_selfdebug/repair/edits/weights.py``.

    python benchmarks/edit_weights.py [--sets fit-starter fit-mbpp] [--limit 40] [--mbpp FILE] [--folder runs/edit-weights]

The failed programs are those of the sets, which ``reading.py`` describes; the default sets hold no program of a test set. Up to
``--most`` edits of each program are run, in the order of their first-order ratios alone. Edits that pass the public checks are then
judged by the hidden checks. What was run is kept in the folder, one line per program, and is not run again.

A conditional logit model is fitted to the results. In it, the chance that the search names a right edit is the sum of
exp(slope * ratio + weight of its kind) over the right edits of a program, divided by the same sum over all its edits. A normal
prior keeps the weights of rare kinds near 0.

Prints the weights. Then prints, for the order without weights and the order with them, how many programs are mended within a
number of tries. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import device_name

import numpy as np
import numpy.typing as npt
from reading import LIMITS, Unit, read_all, units_of
from scipy.optimize import minimize

import mlx_selfdebug as sd
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.models.load import load_model
from mlx_selfdebug.repair.edits.candidates import candidates, worthwhile
from mlx_selfdebug.repair.edits.hints import hints_of
from mlx_selfdebug.repair.edits.trying import QuickRunner, wall_s_of
from mlx_selfdebug.repair.program_reading import ProgramReading
from mlx_selfdebug.sandbox import TestRunner

PRIOR = 0.3
"""The precision of the normal prior of a weight, whose mean is 0."""
MAX_TRIES = (5, 10, 20, 40, 80, 150, 300)
"""The numbers of tries for which mended programs are counted."""
Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=["fit-starter", "fit-mbpp"])
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--humanevalpack", default="", metavar="FILE")
    parser.add_argument("--mbpp", default="", metavar="FILE", help="file of MBPP; from the hub if it is not given")
    parser.add_argument("--limit", type=int, default=40, help="programs of each set, spread evenly; 0 = all")
    parser.add_argument("--most", type=int, default=500, help="largest number of edits to run per program")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--folder", type=Path, default=Path("runs/edit-weights"))
    options = parser.parse_args()
    rows = [row for name in options.sets for row in tried(name, options)]
    kinds, weights, slope = fit(rows)
    for kind in sorted(kinds, key=lambda kind: -weights[kinds[kind]]):
        n_right = sum(edit["right"] and edit["kind"] == kind for row in rows for edit in row["edits"])
        print(f"{kind:16}{weights[kinds[kind]]:7.2f}{n_right:6} right")
    print(f"slope {slope:.2f}")
    orders = {
        "ratio alone": mended(rows, lambda _, ratio: ratio),
        "with weights": mended(rows, lambda kind, ratio: slope * ratio + weights[kinds[kind]]),
    }
    for name, counts in orders.items():
        print(f"{name:16}", "  ".join(f"{n} within {tries}" for tries, n in zip(MAX_TRIES, counts, strict=True)))
    rounded = {kind: round(float(weights[i]), 2) for kind, i in kinds.items()}
    machine = {"device": device_name(), "programs": len(rows)}
    print(
        json.dumps({"benchmark": "edit_weights", "model": options.model, **machine, "slope": slope, "weights": rounded})
    )


def tried(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each program of the set: its id and its edits in order, as :func:`run_edits` returns them.

    Rows that the folder has are read from it; the others are made and added.
    """
    file = options.folder / f"{name}.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {row["id"] for row in rows}
    model = load_model(options.model)
    with sd.Run(options.folder / name) as run, TestRunner(2, LIMITS) as runner:
        units = [unit for unit in units_of(name, options, run, runner, model) if unit.task.id not in known]
        for unit, program in read_all(units, options, model):
            rows.append({"id": unit.task.id, "edits": run_edits(unit, program, runner, options.most)})
            with file.open("a") as out:
                out.write(json.dumps(rows[-1]) + "\n")
    return rows


def run_edits(unit: Unit, program: ProgramReading, runner: TestRunner, max_edits: int) -> list[dict[str, Any]]:
    """Return the first edits of a program, each with its kind, its ratio, whether it passes and whether it is right.

    An edit passes if it satisfies the public checks, and is right if it also satisfies the hidden ones.
    """
    task, domain = unit.task, domain_of(unit.task.domain)
    quick = QuickRunner(runner, wall_s_of(unit.given.public, LIMITS.wall_s))
    ordered = candidates(program, domain, hints_of(task, unit.given.public.failures), weights={})
    chosen = list(worthwhile(ordered, program, domain))[:max_edits]
    public = [domain.judge(candidate.code, task, task.public, quick) for candidate in chosen]
    hidden = [domain.judge(candidate.code, task, task.hidden, quick) if run.result().passed else None
              for candidate, run in zip(chosen, public, strict=True)]  # fmt: skip
    return [
        {
            "kind": candidate.edit.operator,
            "ratio": round(candidate.ratio, 3),
            "passes": run is not None,
            "right": run is not None and run.result().passed,
        }
        for candidate, run in zip(chosen, hidden, strict=True)
    ]


def fit(rows: Sequence[dict[str, Any]]) -> tuple[dict[str, int], Floats, float]:
    """Return the index of each kind, the weights by that index, and the slope of the ratio."""
    kinds = {kind: i for i, kind in enumerate(sorted({edit["kind"] for row in rows for edit in row["edits"]}))}
    programs = [_arrays(row, kinds) for row in rows if any(edit["right"] for edit in row["edits"])]

    def loss(values: Floats) -> tuple[float, Floats]:
        """Return the negative log-posterior, up to a constant, and its gradient; the last of ``values`` is the slope."""
        weights, total, gradient = values[:-1], PRIOR * float((values[:-1] ** 2).sum()) / 2, np.zeros_like(values)
        gradient[:-1] = PRIOR * weights
        for kind, ratio, right in programs:
            score = weights[kind] + values[-1] * ratio
            share = np.exp(score - score.max())
            of_right = np.where(right, share, 0.0) / share[right].sum()
            share /= share.sum()
            total -= float(np.log(share[right].sum()))
            np.add.at(gradient, kind, share - of_right)
            gradient[-1] += float(((share - of_right) * ratio).sum())
        return total, gradient

    best = minimize(loss, np.append(np.zeros(len(kinds)), 0.5), jac=True, method="L-BFGS-B").x
    return kinds, best[:-1], float(best[-1])


def _arrays(row: dict[str, Any], kinds: dict[str, int]) -> tuple[npt.NDArray[np.int64], Floats, npt.NDArray[np.bool_]]:
    edits = row["edits"]
    kind = np.array([kinds[edit["kind"]] for edit in edits])
    ratio = np.array([edit["ratio"] for edit in edits], np.float64)
    return kind, ratio, np.array([edit["right"] for edit in edits], bool)


def mended(rows: Sequence[dict[str, Any]], score: Any) -> list[int]:
    """Return, for each number in ``MAX_TRIES``, how many programs are mended within so many tries in the order of ``score``.

    A program is mended if the first of its edits that passes the public checks is right.
    """
    counts: Counter[int] = Counter()
    for row in rows:
        ordered = sorted(row["edits"], key=lambda edit: -score(edit["kind"], edit["ratio"]))
        first = next((i for i, edit in enumerate(ordered) if edit["passes"]), None)
        if first is not None and ordered[first]["right"]:
            counts.update(tries for tries in MAX_TRIES if first < tries)
    return [counts[tries] for tries in MAX_TRIES]


if __name__ == "__main__":
    main()
