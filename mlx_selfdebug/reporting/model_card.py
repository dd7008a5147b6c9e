"""The model card of an adapter: what it is, how it was trained, and the same figures as the report's, in the hub's front matter.

It is written beside the weights as ``README.md``, so that it goes where they go.
"""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCardData

from mlx_selfdebug.config import Config
from mlx_selfdebug.evaluation.result import Result, Score, read_result
from mlx_selfdebug.models.catalog import ALIASES
from mlx_selfdebug.reporting.columns import markdown_table
from mlx_selfdebug.store import StoredRun, write_atomically
from mlx_selfdebug.training.pair import KINDS

FILE = "README.md"
USE = """```sh
mlx_lm.generate --model {model} --adapter-path . --prompt "..."
```"""


def write_model_card(run: StoredRun) -> None:
    """Into the adapter's folder. Raises StoreError."""
    write_atomically(run.adapter_path / FILE, model_card(run))


def model_card(run: StoredRun) -> str:
    """The card as Markdown; without figures where the run was not evaluated."""
    result = read_result(run)
    title = f"# {_name(run.config)}: {run.config.train.method.upper()} adapter that repairs its own code"
    figures = _figures(run.config, result) if result else "It was not evaluated."
    parts = [f"---\n{_front_matter(run.config, result)}\n---", title, _about(run), "## What it does", figures]
    return "\n\n".join([*parts, "## Use", USE.format(model=_base_model(run.config))]) + "\n"


def _front_matter(config: Config, result: Result | None) -> str:
    data = ModelCardData(
        base_model=_base_model(config),
        library_name="mlx",
        pipeline_tag="text-generation",
        tags=["mlx", config.train.method, "code", "self-debugging"],
        model_name=f"{_name(config)}-selfdebug",
        eval_results=_eval_results(config, result) if result else None,
        ignore_metadata_errors=True,
    )
    return str(data.to_yaml()).strip()


def _eval_results(config: Config, result: Result) -> list[EvalResult]:
    scores = {"first draft, greedy": result.adapter.first_pass}
    scores |= {f"then {arm}, {result.tokens} tokens a task": found for arm, found in result.adapter.arms.items()}
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=config.eval.tasks,
            dataset_name=f"{config.eval.tasks}, {score.problems[1]} tasks",
            metric_type="pass@1",
            metric_name=f"problems solved, {what}",
            metric_value=round(_share(score), 4),
        )
        for what, score in scores.items()
    ]


def _about(run: StoredRun) -> str:
    train, pairs = run.config.train, run.pairs()
    kinds = ", ".join(f"{sum(pair.kind == kind for pair in pairs)} {kind}" for kind in KINDS)
    return (
        f"Trained by mlx-selfdebug on {len(pairs)} pairs ({kinds}) that the base model made of its own drafts on "
        f"`{run.config.collect.tasks}` and what their tests said: rank {train.rank}, scale {train.scale:g}, learning rate "
        f"{train.learning_rate:g}, {train.epochs} epochs, seed {run.config.seed}. Base weights: `{run.environment().get('model')}`."
    )


def _figures(config: Config, result: Result) -> str:
    rows = [["", *(f"{name}: {unit}" for name in result.models for unit in ("problems", "checks"))]]
    models = result.models.values()
    rows.append(["first draft", *_cells([found.first_pass for found in models])])
    rows += [[f"then {arm}", *_cells([found.arms.get(arm) for found in models])] for arm in result.base.arms]
    how = (
        f"`{config.eval.tasks}`, repairs fed from public checks and scored on hidden ones, at most {result.tokens} generated "
        "tokens a task:"
    )
    said = [
        how,
        markdown_table(rows),
        str(result.primary or ""),
        str(result.gate or ""),
    ]
    return "\n\n".join(filter(None, said))


def _cells(scores: list[Score | None]) -> list[str]:
    return [f"{part}/{whole}" if score else "-" for score in scores for part, whole in _counts(score)]


def _counts(score: Score | None) -> tuple[tuple[int, int], tuple[int, int]]:
    return (score.problems, score.checks) if score else ((0, 0), (0, 0))


def _share(score: Score) -> float:
    part, whole = score.problems
    return part / whole if whole else 0.0


def _base_model(config: Config) -> str:
    """The hub's name of the base where it has one."""
    return ALIASES[config.model].hub if config.model in ALIASES else config.model


def _name(config: Config) -> str:
    return _base_model(config).rstrip("/").rpartition("/")[2]
