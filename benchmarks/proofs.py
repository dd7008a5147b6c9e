"""Measure how many proofs the warm checker judges per second, beside a new ``coqc`` for each proof.

    python benchmarks/proofs.py [--cold 60] [--rounds 3]

The scripts are all references and wrong answers of the set ``proofs``. The warm checker is the one that judges drafts and
repairs: confined, with one process per processor, which has read the imports already. Each ``coqc`` is started for a file with the
theorem and one script, not confined, and as many run at a time. Both sides must give the same verdicts. Prints a table, then one
JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mlx_selfdebug.domains.proof import theorem_of
from mlx_selfdebug.proving.rocq import Rocq, open_rocq
from mlx_selfdebug.proving.rocq_script import tactics_of
from mlx_selfdebug.proving.theorem import Theorem
from mlx_selfdebug.sandbox.runner import n_processors
from mlx_selfdebug.tasks import load_tasks


@dataclass(frozen=True)
class Script:
    """One script for one theorem."""

    theorem: Theorem
    text: str
    is_right: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cold", type=int, default=60, help="number of scripts, spread over all, for which coqc is started"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="number of times that the warm checker judges all scripts"
    )
    options = parser.parse_args()
    scripts = all_scripts()
    chosen = scripts[:: max(1, len(scripts) // options.cold)][: options.cold]
    with open_rocq() as rocq:
        first_s = judge(rocq, scripts)
        warm = [len(scripts) / judge(rocq, scripts) for _ in range(options.rounds)]
        version = rocq.version
    cold = len(chosen) / start_each(chosen)
    print(f"{'':34}{'scripts':>9}{'per second':>12}")
    print(f"{'warm, the first time':34}{len(scripts):9}{len(scripts) / first_s:12.1f}")
    print(f"{'warm':34}{len(scripts):9}{median(warm):12.1f}")
    print(f"{'coqc, started for each':34}{len(chosen):9}{cold:12.1f}")
    print(f"ratio: {median(warm) / cold:.1f}")
    rates = {"first": len(scripts) / first_s, "warm": median(warm), "cold": cold, "ratio": median(warm) / cold}
    machine = {"machine": platform.machine(), "processors": n_processors(), "rocq": version}
    print(json.dumps({"benchmark": "proofs", **machine, **rates}))


def all_scripts() -> list[Script]:
    scripts = []
    for task in load_tasks("proofs"):
        scripts.append(Script(theorem_of(task), task.reference, is_right=True))
        scripts += [Script(theorem_of(task), text, is_right=False) for text in task.wrong]
    return scripts


def judge(rocq: Rocq, scripts: Sequence[Script]) -> float:
    """Judge all scripts and return the seconds that it took."""
    began = time.monotonic()
    futures = [rocq.check(script.theorem, script.text) for script in scripts]
    assert [future.result().proved for future in futures] == [script.is_right for script in scripts]
    return time.monotonic() - began


def start_each(scripts: Sequence[Script]) -> float:
    """Start ``coqc`` for each script and return the seconds that it took."""
    program = shutil.which("coqc") or "coqc"

    def is_proved(script: Script) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "proof.v")
            proof = "\n".join(sentence.text for sentence in tactics_of(script.text))
            path.write_text("\n".join([*script.theorem.beginning, script.theorem.statement, proof, "Qed."]))
            return subprocess.run([program, "-q", path], capture_output=True, cwd=folder, check=False).returncode == 0

    began = time.monotonic()
    with ThreadPoolExecutor(n_processors()) as pool:
        assert list(pool.map(is_proved, scripts)) == [script.is_right for script in scripts]
    return time.monotonic() - began


if __name__ == "__main__":
    main()
