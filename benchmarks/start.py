"""Show where the time goes between typing a command and its first token, and that nothing is done twice.

    python benchmarks/start.py [--model qwen2.5-coder-0.5b] [--repeats 3]

Each repeat is a fresh process that imports the package, loads the model and decodes one token, as `mlx-selfdebug collect` does. The
model should be in the cache already. Prints a table of medians in seconds, then one JSON line. Their last entry, ``loads``, is the
number of times that the model was loaded.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys

CHILD = """
import json, sys, time
begin = last = time.perf_counter()
took = {}
def lap(name):
    global last
    now = time.perf_counter()
    took[name] = now - last
    last = now
import mlx_selfdebug.cli.main
lap("command line")
from mlx_selfdebug.tasks import load_tasks
task = load_tasks("starter")[0]
lap("tasks")
import mlx_selfdebug.models.load as load
lap("import mlx, mlx-lm")
reads = []
read = load.load_network
load.load_network = lambda *a, **k: (reads.append(a[0]), read(*a, **k))[1]
model = load.load_model(sys.argv[1])
lap("load the model")
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.sampling.language_model import open_decoder
from mlx_selfdebug.sampling.request import Request
ids = tuple(model.render([{"role": "user", "content": domain_of(task.domain).prompt(task)}]))
decoder = open_decoder(model, budget_bytes=6 * 10**9, max_rows=1, max_row_tokens=1024)
decoder.submit(Request(ids, 1))
decoder.step()
lap("first token")
took["all"] = time.perf_counter() - begin
took["loads"] = len(reads)
print(json.dumps(took))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    runs = [run_once(options.model) for _ in range(options.repeats)]
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    for name, value in medians.items():
        print(f"{name:20}{value:8.2f}")
    print(json.dumps({"benchmark": "start", "model": options.model, "machine": platform.machine(), "seconds": medians}))


def run_once(model: str) -> dict[str, float]:
    """Return the seconds of each step in a fresh process, and the number of times that it loaded the model."""
    done = subprocess.run([sys.executable, "-c", CHILD, model], check=True, capture_output=True, text=True)
    record: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return record


if __name__ == "__main__":
    main()
