"""Write the model card of an adapter: what it is, how it was trained, and the figures of the report.

The card is the ``README.md`` in the adapter's folder, so it is copied with the weights. The figures stand in its text, and also in
its front matter, from which the Hugging Face hub reads them. Folders of this machine are left out, because a card is for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from huggingface_hub import EvalResult, ModelCardData

from mlx_selfdebug.columns import markdown_table
from mlx_selfdebug.config import Config
from mlx_selfdebug.evaluation.arms import FIRST
from mlx_selfdebug.evaluation.played import BUGS, OWN
from mlx_selfdebug.evaluation.result import Half, Result, Score, read_result
from mlx_selfdebug.models.catalog import hub_repository, license_of
from mlx_selfdebug.store import Key, StoredRun, write_atomically
from mlx_selfdebug.values.pair import KINDS

FILE = "README.md"
USE = """```sh
mlx_lm.generate --model {model} --adapter-path . --prompt "..."
```"""
USE_FROM_HUB = """```sh
hf download {repository} --local-dir adapter
mlx_lm.generate --model {model} --adapter-path adapter --prompt "..."
```"""


def write_model_card(run: StoredRun) -> None:
    """Write the card into the adapter's folder. Raises StoreError if it cannot be written."""
    write_atomically(run.adapter_path / FILE, model_card(run))


def model_card(run: StoredRun, repository: str = "") -> str:
    """Return the card as Markdown. If the run was not evaluated, it has no figures and says so.

    ``repository`` is the repository on the hub that the card will be part of, if there is one. The card then says how to download
    the adapter from it.
    """
    result, base = read_result(run), _base(run)
    title = f"# {_name(run)}: {run.config.train.method.upper()} adapter that repairs its own code"
    figures = _figures(run.config, result) if result else "The adapter was not evaluated."
    parts = [f"---\n{_front_matter(run, base, result)}\n---", title, _about(run), "## What it does", figures]
    use = (USE_FROM_HUB if repository else USE).format(model=base or _name(run), repository=repository)
    return "\n\n".join([*parts, "## Use", use]) + "\n"


def _front_matter(run: StoredRun, base: str, result: Result | None) -> str:
    """Return the YAML at the top of the card, from which the hub reads the base model, the tags and the scores."""
    config = run.config
    data = ModelCardData(
        base_model=base or None,
        base_model_relation="adapter" if base else None,
        license=license_of(base) or None,
        library_name="mlx",
        pipeline_tag="text-generation",
        tags=["mlx", config.train.method, "code", "self-debugging"],
        model_name=f"{_name(run)}-selfdebug",
        eval_results=_eval_results(config, result) if result else None,
        ignore_metadata_errors=True,
    )
    return str(data.to_yaml()).strip()


def _eval_results(config: Config, result: Result) -> list[EvalResult]:
    """Return the adapter's scores in both halves of the evaluation, in the form that the hub reads."""
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=without_folders(config.eval.tasks),
            dataset_name=_dataset(config, name, half.n),
            metric_type="pass@1",
            metric_name=f"{'bugs repaired' if name == BUGS else 'problems solved'}, {arm}",
            metric_value=round(_share(score), 4),
        )
        for name, half in result.halves.items()
        for arm, score in _named_scores(half, name, result.tokens)
    ]


def _dataset(config: Config, half: str, n: int) -> str:
    """Return what a half was evaluated on, such as "humaneval, 50 tasks"."""
    tasks = without_folders(config.eval.tasks)
    return f"bugs in {tasks}, {n} bugs" if half == BUGS else f"{tasks}, {n} tasks"


def _named_scores(half: Half, name: str, tokens: int) -> Iterator[tuple[str, Score]]:
    """Yield the adapter's scores on one half of the evaluation, each after a name such as "then facts, 400 tokens per task"."""
    if name == OWN:
        yield "first draft, greedy", half.adapter.first_pass
    yield from ((f"then {arm}, {tokens} tokens per task", score) for arm, score in half.adapter.arms.items())


def _about(run: StoredRun) -> str:
    """Return a paragraph that says how the adapter was trained."""
    train, pairs = run.config.train, run.pairs()
    kinds = ", ".join(f"{sum(pair.kind == kind for pair in pairs)} {kind}" for kind in KINDS)
    references = " and, where it solved nothing, the tasks' references" if train.targets == "reference" else ""
    return (
        f"Trained by mlx-selfdebug on {len(pairs)} pairs ({kinds}). They were made from the base model's own drafts on "
        f"`{without_folders(run.config.collect.tasks)}`{references}, and the results of tests. "
        f"Training used rank {train.rank}, scale {train.scale:g}, "
        f"learning rate {train.learning_rate:g}, {train.epochs} epochs and seed {run.config.seed}. {_rewards(run)}"
        f"Base weights: `{without_folders(run.facts().model or run.config.model)}`."
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
        f"Results on `{without_folders(config.eval.tasks)}`. Repairs are shown the results of public checks and scored on hidden "
        f"ones, with at most {result.tokens} generated tokens per task:"
    )
    parts = [setting, _table(result, OWN)]
    if result.bugs:
        source = without_folders(config.eval.bugs)
        bugs = f"Results on {result.bugs.n} bugs ({source}), which are the same for every model:"
        parts += [bugs, _table(result.bugs, BUGS)]
    return "\n\n".join([*parts, *result.findings])


def _table(half: Half, name: str) -> str:
    """Return a table with one row per arm, and with the problems solved and the checks passed by each model."""
    head = ["", *(f"{model}: {unit}" for model in half.models for unit in ("problems", "checks"))]
    # In the half of the bugs, no model wrote the first "drafts".
    arms = [FIRST, *half.base.arms] if name == OWN else list(half.base.arms)
    rows = []
    for arm in arms:
        cells = [cell for model in half.models.values() for cell in _cells(model.scores.get(arm))]
        rows.append(["first draft" if arm == FIRST else f"then {arm}", *cells])
    return markdown_table([head, *rows])


def _cells(score: Score | None) -> tuple[str, str]:
    """Return the problems solved and the checks passed as text, such as "3/16" and "41/80". Return "-" for an unknown score."""
    if score is None:
        return "-", "-"
    solved, n_problems = score.problems
    passed, n_checks = score.checks
    return f"{solved}/{n_problems}", f"{passed}/{n_checks}"


def _share(score: Score) -> float:
    """Return the share of problems solved, from 0 to 1."""
    solved, n_problems = score.problems
    return solved / n_problems if n_problems else 0.0


def _base(run: StoredRun) -> str:
    """Return the base model's repository on the hub, or "" if it has none."""
    return hub_repository(run.config.model, run.facts().model or "")


def _name(run: StoredRun) -> str:
    """Return the last part of the base model's name, such as "Qwen2.5-Coder-0.5B-Instruct"."""
    return PurePath(_base(run) or run.config.model).name


def without_folders(name: str) -> str:
    """Return the name of a task set or a model without folders of this machine.

    >>> without_folders("functions:/home/me/shop"), without_folders("hub:owner/model@0123"), without_folders("starter")
    ('functions:shop', 'hub:owner/model@0123', 'starter')
    """
    kind, colon, place = name.rpartition(":")
    return name if kind == "hub" or "/" not in place else f"{kind}{colon}{PurePath(place).name}"
