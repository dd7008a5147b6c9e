"""Write the model card of an adapter: what it is, how it was trained, and the figures of the report.

The card is the ``README.md`` in the adapter's folder, so it is copied with the weights. The figures stand in its text, and also in
its front matter, from which the Hugging Face hub reads them.
"""

from __future__ import annotations

from collections.abc import Iterator

from huggingface_hub import EvalResult, ModelCardData

from mlx_selfdebug.columns import markdown_table
from mlx_selfdebug.config import Config
from mlx_selfdebug.evaluation.arms import FIRST
from mlx_selfdebug.evaluation.played import BUGS, OWN
from mlx_selfdebug.evaluation.result import Half, Result, Score, read_result
from mlx_selfdebug.models.catalog import ALIASES
from mlx_selfdebug.store import Key, StoredRun, write_atomically
from mlx_selfdebug.values.pair import KINDS

FILE = "README.md"
USE = """```sh
mlx_lm.generate --model {model} --adapter-path . --prompt "..."
```"""


def write_model_card(run: StoredRun) -> None:
    """Write the card into the adapter's folder. Raises StoreError if it cannot be written."""
    write_atomically(run.adapter_path / FILE, model_card(run))


def model_card(run: StoredRun) -> str:
    """Return the card as Markdown. If the run was not evaluated, it has no figures and says so."""
    result = read_result(run)
    title = f"# {_name(run.config)}: {run.config.train.method.upper()} adapter that repairs its own code"
    figures = _figures(run.config, result) if result else "The adapter was not evaluated."
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
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=config.eval.tasks,
            dataset_name=_dataset(config, name, half.n),
            metric_type="pass@1",
            metric_name=f"{'bugs repaired' if name == BUGS else 'problems solved'}, {arm}",
            metric_value=round(_share(score), 4),
        )
        for name, half in result.halves.items()
        for arm, score in _named_scores(half, name, result.tokens)
    ]


def _dataset(config: Config, half: str, n: int) -> str:
    return f"bugs in {config.eval.tasks}, {n} bugs" if half == BUGS else f"{config.eval.tasks}, {n} tasks"


def _named_scores(half: Half, name: str, tokens: int) -> Iterator[tuple[str, Score]]:
    """Yield the adapter's scores on one half of the evaluation, each with what was done to reach it."""
    if name == OWN:
        yield "first draft, greedy", half.adapter.first_pass
    yield from ((f"then {arm}, {tokens} tokens per task", score) for arm, score in half.adapter.arms.items())


def _about(run: StoredRun) -> str:
    train, pairs = run.config.train, run.pairs()
    kinds = ", ".join(f"{sum(pair.kind == kind for pair in pairs)} {kind}" for kind in KINDS)
    references = " and, where it solved nothing, the tasks' references" if train.targets == "reference" else ""
    return (
        f"Trained by mlx-selfdebug on {len(pairs)} pairs ({kinds}). They were made from the base model's own drafts on "
        f"`{run.config.collect.tasks}`{references}, and the results of tests. "
        f"Training used rank {train.rank}, scale {train.scale:g}, "
        f"learning rate {train.learning_rate:g}, {train.epochs} epochs and seed {run.config.seed}. {_rewards(run)}"
        f"Base weights: `{run.facts().model}`."
    )


def _rewards(run: StoredRun) -> str:
    """Return a sentence about the training by rewards, or "" if there was none."""
    steps, ending = run.reward_steps(), run.facts().stored.get(Key.REWARD_ENDING)
    if not steps or not ending:
        return ""
    n_completions = sum(step.n_completions for step in steps)
    return (
        f"Then {ending['steps']} steps of training by rewards followed, on {n_completions} completions that were tested "
        f"(learning rate {run.config.train.reward_learning_rate:g}); the adapter is that after {ending['kept']} of them. "
    )


def _figures(config: Config, result: Result) -> str:
    """Return the tables of both halves of the evaluation, and the sentences that the result says about them."""
    setting = (
        f"Results on `{config.eval.tasks}`. Repairs are shown the results of public checks and scored on hidden ones, with at most "
        f"{result.tokens} generated tokens per task:"
    )
    parts = [setting, _table(result, OWN)]
    if result.bugs:
        bugs = f"Results on {result.bugs.n} bugs ({config.eval.bugs}), which are the same for every model:"
        parts += [bugs, _table(result.bugs, BUGS)]
    return "\n\n".join([*parts, *result.findings])


def _table(half: Half, name: str) -> str:
    """Return a table with one row per arm, and with the problems solved and the checks passed by each model."""
    head = ["", *(f"{model}: {unit}" for model in half.models for unit in ("problems", "checks"))]
    rows = [["first draft" if arm == FIRST else f"then {arm}", *_cells([m.scores.get(arm) for m in half.models.values()])]
            for arm in (*([FIRST] if name == OWN else []), *half.base.arms)]  # fmt: skip
    return markdown_table([head, *rows])


def _cells(scores: list[Score | None]) -> list[str]:
    cells = []
    for score in scores:
        cells += [f"{part}/{whole}" for part, whole in (score.problems, score.checks)] if score else ["-", "-"]
    return cells


def _share(score: Score) -> float:
    part, whole = score.problems
    return part / whole if whole else 0.0


def _base_model(config: Config) -> str:
    """Return the base model's repository on the hub if it has an alias, or else the name that the run was given."""
    return ALIASES[config.model].hub if config.model in ALIASES else config.model


def _name(config: Config) -> str:
    """Return the last part of the base model's name, such as "Qwen2.5-Coder-0.5B-Instruct"."""
    return _base_model(config).rstrip("/").rpartition("/")[2]
