"""A small code model learns to debug its own code from its own test failures.

    import mlx_selfdebug as sd

    tasks = sd.load_tasks("starter")
    model = sd.load_model("qwen2.5-coder-0.5b")
    with sd.Run("runs/first") as run:
        attempts = sd.collect(run, model, tasks)
        adapter = sd.train(run, model)
        result = sd.evaluate(run, model, adapter, sd.load_tasks("humaneval")[:50])

Each public name is imported when it is first used, so ``import mlx_selfdebug`` does not import mlx.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_selfdebug.auditing.verify import check_tasks as check_tasks
    from mlx_selfdebug.config import Config as Config
    from mlx_selfdebug.config import load_config as load_config
    from mlx_selfdebug.errors import SelfDebugError as SelfDebugError
    from mlx_selfdebug.evaluation.evidence import read_evidence as read_evidence
    from mlx_selfdebug.evaluation.result import Result as Result
    from mlx_selfdebug.evaluation.result import read_result as read_result
    from mlx_selfdebug.exporting.export import Export as Export
    from mlx_selfdebug.exporting.export import export as export
    from mlx_selfdebug.fixing.fix import fix_project as fix_project
    from mlx_selfdebug.fixing.notebook import fix as fix
    from mlx_selfdebug.fixing.result import FixResult as FixResult
    from mlx_selfdebug.models.load import Model as Model
    from mlx_selfdebug.models.load import load_model as load_model
    from mlx_selfdebug.progress import Bars as Bars
    from mlx_selfdebug.progress import Lines as Lines
    from mlx_selfdebug.repair.reading import read as read
    from mlx_selfdebug.reporting.report import write_report as write_report
    from mlx_selfdebug.sandbox.limits import Limits as Limits
    from mlx_selfdebug.sandbox.runner import TestRunner as TestRunner
    from mlx_selfdebug.stages.collect import collect as collect
    from mlx_selfdebug.stages.evaluate import evaluate as evaluate
    from mlx_selfdebug.stages.train import train as train
    from mlx_selfdebug.store import Run as Run
    from mlx_selfdebug.store import open_stored as open_stored
    from mlx_selfdebug.tasks.jsonl import dump_tasks as dump_tasks
    from mlx_selfdebug.tasks.load import load_tasks as load_tasks
    from mlx_selfdebug.tracking import track as track
    from mlx_selfdebug.training.adapter import Adapter as Adapter
    from mlx_selfdebug.training.adapter import open_adapter as open_adapter
    from mlx_selfdebug.training.mix import reference_pairs as reference_pairs
    from mlx_selfdebug.values.attempt import Attempt as Attempt
    from mlx_selfdebug.values.checks import Checks as Checks
    from mlx_selfdebug.values.pair import Pair as Pair
    from mlx_selfdebug.values.task import Task as Task
    from mlx_selfdebug.values.verdict import Failure as Failure
    from mlx_selfdebug.values.verdict import Verdict as Verdict

_MODULES = {  # for each public name, its module within this package
    "Adapter": "training.adapter",
    "Attempt": "values.attempt",
    "Bars": "progress",
    "Checks": "values.checks",
    "Config": "config",
    "Export": "exporting.export",
    "Failure": "values.verdict",
    "FixResult": "fixing.result",
    "Limits": "sandbox.limits",
    "Lines": "progress",
    "Model": "models.load",
    "Pair": "values.pair",
    "Result": "evaluation.result",
    "Run": "store",
    "SelfDebugError": "errors",
    "Task": "values.task",
    "TestRunner": "sandbox.runner",
    "Verdict": "values.verdict",
    "check_tasks": "auditing.verify",
    "collect": "stages.collect",
    "dump_tasks": "tasks.jsonl",
    "evaluate": "stages.evaluate",
    "export": "exporting.export",
    "fix": "fixing.notebook",
    "fix_project": "fixing.fix",
    "load_config": "config",
    "load_model": "models.load",
    "load_tasks": "tasks.load",
    "open_adapter": "training.adapter",
    "open_stored": "store",
    "read": "repair.reading",
    "read_evidence": "evaluation.evidence",
    "read_result": "evaluation.result",
    "reference_pairs": "training.mix",
    "track": "tracking",
    "train": "stages.train",
    "write_report": "reporting.report",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
