"""Define the stages that are measured.

The work of a stage consists of calls that a real run makes, too. It is seeded, so it is the same on every machine.

- load: load the weights into memory.
- sample: decode one draft alone, which memory bandwidth bounds, and then drafts side by side.
- test: run references through the test runner.
- repair: draft, test and repair in one stream, as ``collect`` does.
- train: train an adapter on pairs.
- evaluate: evaluate base and adapter, with one arm each.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.bench.trial import Work
from mlx_selfdebug.config import Config, load_config
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.sampling.decodable import DecodingCounts
from mlx_selfdebug.sampling.decoder import open_batch_decoder
from mlx_selfdebug.sampling.language_model import complete
from mlx_selfdebug.sampling.request import Request
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.stages.collect import collect
from mlx_selfdebug.stages.common import decoding_of
from mlx_selfdebug.stages.evaluate import evaluate
from mlx_selfdebug.stages.train import train
from mlx_selfdebug.store import Run
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.adapter import Adapter
from mlx_selfdebug.training.examples import encode_pairs
from mlx_selfdebug.training.mix import reference_pairs
from mlx_selfdebug.values.task import Task

STAGES = ("load", "sample", "test", "repair", "train", "evaluate")
"""The names of the stages, in the order in which they are measured."""
SIZE: dict[str, int | float | str] = {
    "collect.samples": 2,
    "collect.rounds": 1,
    "collect.repairs": 1,
    "collect.weak_share": 0.0,
    "collect.max_tokens": 64,
    "train.epochs": 1,
    "train.held_back_share": 0.0,
    "eval.arms": "blind",
    "eval.bugs": "none",
    "eval.tokens": 128,
    "eval.max_tokens": 64,
}
"""The settings of the runs in which repair, train and evaluate are measured. They are small, so that a repetition is short."""
DRAFTS, DRAFT_TOKENS, MAX_TOKENS = 16, 64, 1024
"""The number of drafts decoded side by side, the tokens of each, and the maximum number of tokens of a draft with its prompt."""
TESTED, REPAIRED, TRAINED, EVALUATED = 128, 8, 16, 4
"""The number of tasks in one repetition of test, repair, train and evaluate."""


class Workbench:
    """The work of each stage on one model. The runs that it needs are created in ``folder``."""

    def __init__(self, model: str, folder: Path, *, seed: int = 0, allow_weak_sandbox: bool = False) -> None:
        self.config: Config = load_config(overrides={**SIZE, "model": model, "seed": seed}, environment={})
        self._model_name, self._folder, self._allow_weak_sandbox = model, folder, allow_weak_sandbox
        self._run_numbers = count()
        self._model: Model | None = None
        self._adapter: Adapter | None = None

    def work(self, stage: str) -> Work:
        """Return the function that does the work of a stage once."""
        works: Mapping[str, Work] = {
            "load": self._load,
            "sample": self._sample,
            "test": self._test,
            "repair": self._repair,
            "train": self._train,
            "evaluate": self._evaluate,
        }
        return works[stage]

    @property
    def model(self) -> Model:
        """The model. It is loaded at the first use."""
        if self._model is None:
            self._load()
        assert self._model is not None
        return self._model

    def close(self) -> None:
        """Free the model and the memory that MLX keeps for reuse."""
        self._model = None
        gc.collect()
        mx.clear_cache()

    def _load(self) -> Mapping[str, float]:
        """Load the weights. Only the time counts, so there are no rates."""
        self.close()
        self._model = load_model(self._model_name)
        return {}

    def _sample(self) -> Mapping[str, float]:
        """Decode one draft alone, then ``DRAFTS`` drafts side by side, and return the tokens per second of both."""
        prompts = [self._prompt_ids(task) for task in _tasks("starter", DRAFTS)]
        alone = self._decode([Request(prompts[0], DRAFT_TOKENS)])
        settings = self.config.collect
        together = self._decode(
            Request(ids, DRAFT_TOKENS, settings.temperature, settings.min_p, seed) for seed, ids in enumerate(prompts)
        )
        return {
            "prefill_tokens_per_s": together.prefilled_tokens / together.prefill_s,
            "decode_tokens_per_s": together.decoded_tokens / together.decode_s,
            "decode_alone_tokens_per_s": alone.decoded_tokens / alone.decode_s,
        }

    def _decode(self, requests: Iterable[Request]) -> DecodingCounts:
        """Complete requests with a new decoder, and return what it counted."""
        decoding = decoding_of(self.config.collect, self.config)
        # The decoder can guess that a draft repeats a part of its prompt. Here it must not, because the speed would then depend
        # on how much a draft happens to repeat.
        decoder = open_batch_decoder(
            self.model, budget_bytes=decoding.budget_bytes, max_rows=DRAFTS, max_row_tokens=MAX_TOKENS, guesses=0
        )
        for _ in complete(decoder, list(requests)):
            pass
        return decoder.counts

    def _prompt_ids(self, task: Task) -> tuple[int, ...]:
        domain = domain_of(task.domain)
        message = {"role": "user", "content": domain.prompt(task)}
        return tuple(self.model.render([message], reply_prefix=domain.reply_prefix))

    def _test(self) -> Mapping[str, float]:
        """Run references through the test runner, and return the runs per second."""
        tasks = _tasks("starter", TESTED)
        with open_runner(self.config.sandbox, tasks, allow_weak_sandbox=self._allow_weak_sandbox) as runner:
            # The first runs start the worker processes, which should not be measured.
            _run_references(tasks[: self.config.sandbox.workers], runner)
            begin = time.perf_counter()
            _run_references(tasks, runner)
            wall_s = time.perf_counter() - begin
        return {"runs_per_s": len(tasks) / wall_s}

    def _repair(self) -> Mapping[str, float]:
        """Collect attempts on a few tasks, and return the attempts and generated tokens per second."""
        with self._run() as run:
            begin = time.perf_counter()
            attempts = collect(
                run, self.model, _tasks("starter", REPAIRED), allow_weak_sandbox=self._allow_weak_sandbox
            )
            wall_s = time.perf_counter() - begin
        tokens = sum(attempt.n_completion_tokens for attempt in attempts)
        return {"attempts_per_s": len(attempts) / wall_s, "generated_tokens_per_s": tokens / wall_s}

    def _train(self) -> Mapping[str, float]:
        """Train an adapter on pairs made from references, and return the trained tokens per second."""
        pairs = reference_pairs(_tasks("starter", TRAINED))
        examples, _ = encode_pairs(self.model, pairs, self.config.train.max_length)
        with self._run() as run:
            run.replace_pairs(pairs)
            self._adapter = train(run, self.model, tasks=[])
            steps_s = sum(step.wall_s for step in run.steps())
        return {"train_tokens_per_s": sum(len(example.ids) - 1 for example in examples) / steps_s}

    def _evaluate(self) -> Mapping[str, float]:
        """Evaluate the base and the adapter, and return the generated tokens per second. If there is no adapter, train one."""
        if self._adapter is None:
            self._train()
        assert self._adapter is not None
        tasks = _tasks("humaneval", EVALUATED)
        with self._run() as run:
            begin = time.perf_counter()
            evaluate(run, self.model, self._adapter, tasks, allow_weak_sandbox=self._allow_weak_sandbox)
            wall_s = time.perf_counter() - begin
            tokens = sum(attempt.n_completion_tokens for attempt in run.attempts())
        return {"generated_tokens_per_s": tokens / wall_s}

    def _run(self) -> Run:
        return Run(self._folder / f"run-{next(self._run_numbers)}", self.config)


def _tasks(name: str, n: int) -> Sequence[Task]:
    return load_tasks(name).spread(n)


def _run_references(tasks: Sequence[Task], runner: TestRunner) -> None:
    """Run the reference of each task against its hidden checks, as many side by side as the runner has workers."""
    for future in [domain_of(task.domain).judge(task.reference, task, task.hidden, runner) for task in tasks]:
        future.result()
