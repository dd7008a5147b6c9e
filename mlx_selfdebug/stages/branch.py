"""Make a new run from what another run has collected, so that an adapter can be trained differently on the same attempts.

A claim about training needs such runs as controls: for example with another seed, or with an adapter that is trained only on direct
pairs.

>>> with open_stored("runs/first") as source:                                           # doctest: +SKIP
...     branch(source, "runs/direct", config)
"""

from __future__ import annotations

from pathlib import Path

from mlx_selfdebug.config import Config, differences
from mlx_selfdebug.errors import ConfigError, StoreError, UsageError
from mlx_selfdebug.repair import planting
from mlx_selfdebug.stages.collect import ARM
from mlx_selfdebug.store import Family, Key, Run, StoredRun
from mlx_selfdebug.store.files import making_folder
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.mix import make_pairs
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import Pair

COPIED_KEYS = (
    Key.MODEL, Key.ISOLATION, Key.SANDBOX, Key.TRAINING_TASKS, Key.AUDIT, Key.BUG_OPERATORS, Key.HELD_BACK,
    Family.MACHINE.key("collect"),
)  # fmt: skip
"""The keys of the facts that the new run takes over from its source."""


def branch(source: StoredRun, path: str | Path, config: Config) -> None:
    """Make a run at ``path`` with the collected attempts and held-back tasks of ``source``, and with pairs made by ``config``.

    The run is made whole or not at all.

    Raises:
        ConfigError: ``config`` differs from the source's configuration in more than the seed and the settings of training.
        UsageError: the source has not collected to the end.
        StoreError: ``path`` exists and is not an empty folder, or it cannot be written.
    """
    target = Path(path).absolute()
    _require_branchable(source, target, config)
    pairs = _pairs(source, config)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with making_folder(target) as folder, Run(folder, config) as run:
            _fill(run, source, pairs)
    except OSError as error:
        raise StoreError(
            f"{error.filename or path}: {error.strerror}", hint="choose another folder with --run"
        ) from error


def _require_branchable(source: StoredRun, path: Path, config: Config) -> None:
    """Raise ConfigError, UsageError or StoreError if the run cannot be made, for the reasons that ``branch`` names."""
    if not source.is_done("collect"):
        raise UsageError(
            f"{source.path} has not collected to the end", hint=f"mlx-selfdebug collect --run {source.path}"
        )
    others = [line for line in differences(source.config, config) if not line.startswith(("seed:", "train."))]
    if others:
        raise ConfigError(
            "a branch may differ from its source only in the seed and in settings of training, but these differ too:\n  "
            + "\n  ".join(others),
            hint="start a separate run with: mlx-selfdebug collect",
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise StoreError(f"{path} is not empty: nothing was copied", hint="choose another folder with --run")


def _pairs(source: StoredRun, config: Config) -> list[Pair]:
    """Return the pairs that ``config`` makes of the source's attempts, on all tasks but those held back or left out."""
    facts = source.facts()
    not_trained_on = {*facts.held_back, *facts.weak_tasks}
    tasks = load_tasks(config.collect.tasks).spread(config.collect.limit)
    trained_on = [task for task in tasks if task.id not in not_trained_on]
    return make_pairs(_collected(source), trained_on, config.train, config.seed)


def _collected(source: StoredRun) -> list[Attempt]:
    """Return the model's attempts on the training tasks, and the bugs."""
    return [*source.attempts(ARM), *source.attempts(planting.ARM)]


def _fill(run: Run, source: StoredRun, pairs: list[Pair]) -> None:
    """Store in ``run`` what the source has collected, the pairs, and the time and memory that collecting took."""
    for attempt in _collected(source):
        run.add_attempt(attempt)
    stored = source.facts().stored
    for key in COPIED_KEYS:
        if key in stored:
            run.remember(key, stored[key])
    run.remember(Key.BRANCH_OF, str(source.path))
    run.replace_pairs(pairs)
    stage = source.stages()["collect"]
    run.add_stage_time(
        "collect",
        stage.wall_s,
        stage.peak_bytes,
        done=True,
        parts=source.parts().get("collect", {}),
        memory=[(sample.at_s, sample.n_bytes) for sample in source.memory() if sample.stage == "collect"],
    )
