"""Read GSM8K, and generate problems with reasoning-gym.

The public and the hidden checks of a problem are the same: its answer is compared with a key, or scored by the generator.

GSM8K is by Cobbe et al., "Training Verifiers to Solve Math Word Problems", 2021. reasoning-gym is by Stojanovski et al., "Reasoning
Gym", 2025. Its sets are named ``reasoning-gym:GENERATOR,size=100,seed=0``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_selfdebug.domains import packages_of
from mlx_selfdebug.domains.mathematics import key_checks
from mlx_selfdebug.domains.reasoning import entry_checks
from mlx_selfdebug.errors import TaskError, UnknownNameError, did_you_mean
from mlx_selfdebug.tasks.files import stem
from mlx_selfdebug.tasks.sets.records import Record, build_tasks, read_records
from mlx_selfdebug.values.task import Task

DEFAULT_SIZE, MAX_SIZE = 100, 100_000
"""The number of problems that reasoning-gym generates unless it is given, and the largest that may be given."""
_KEY = re.compile(r"-?\d+(\.\d+)?")
"""Matches the answer of a problem of GSM8K, without commas between thousands."""
_CALCULATION = re.compile(r"<<.*?>>")
"""Matches a calculator annotation in GSM8K's solutions, such as ``<<48/2=24>>``."""


def gsm8k_tasks(path: Path) -> list[Task]:
    """Return the tasks of a file in GSM8K's form: objects with ``question`` and ``answer``, which ends in ``#### KEY``.

    Raises TaskError with all problems of the file.
    """
    records = read_records(path, {"question": str, "answer": str})
    numbered = [Record(record.where, {**record.fields, "number": i}) for i, record in enumerate(records)]
    return build_tasks(path, numbered, lambda fields: _gsm8k_task(fields, stem(path)))


def _gsm8k_task(fields: Mapping[str, Any], name: str) -> Task:
    """Return the task of a record of the file ``name``. Raises ValueError if its answer does not end in ``#### KEY``."""
    reasoning, mark, key = fields["answer"].rpartition("####")
    key = key.strip().replace(",", "")
    if not mark or not _KEY.fullmatch(key):
        raise ValueError(f"the answer does not end in #### and a number: {fields['answer'][-40:]!r}")
    checks = key_checks(key)
    return Task(
        id=f"GSM8K/{name}/{fields['number']}",
        domain="math",
        statement=fields["question"].strip(),
        entry_point="answer",
        public=checks,
        hidden=checks,
        reference=_CALCULATION.sub("", reasoning).strip() + f"\n\\boxed{{{key}}}\n",
        wrong=(f"\\boxed{{{key}1}}\n",),  # another number: the key with one more digit
        source="gsm8k",
    )


def reasoning_tasks(generator: str) -> list[Task]:
    """Generate tasks with a generator of reasoning-gym.

    ``generator`` is the name of a generator, followed by settings after commas: ``chain_sum,size=100,seed=0``. A setting is
    ``size``, ``seed``, or a setting of the generator's own that is a whole number.

    Raises UnknownNameError if reasoning-gym has no such generator, TaskError if the generator does not take a setting, and
    UsageError if reasoning-gym is not installed.
    """
    packages_of(["reasoning"])
    with warnings.catch_warnings():
        # Packages that reasoning_gym imports cause such warnings when they are compiled, which may be now.
        warnings.simplefilter("ignore", SyntaxWarning)
        import reasoning_gym
        from reasoning_gym.factory import DATASETS

    name, *settings = generator.split(",")
    if name not in DATASETS:
        raise UnknownNameError("generator of reasoning-gym", name, DATASETS)
    values = _settings(generator, settings)
    size, seed = values.pop("size", DEFAULT_SIZE), values.pop("seed", 0)
    if not 0 < size <= MAX_SIZE:
        raise TaskError(f"reasoning-gym:{generator}: size is {size}, but it must be from 1 to {MAX_SIZE:,}")
    try:
        dataset = reasoning_gym.create_dataset(name, size=size, seed=seed, **values)
        entries = [dataset[i] for i in range(size)]
    except (TypeError, ValueError, AssertionError) as error:
        raise TaskError(f"reasoning-gym:{generator}: {error}") from error
    return [_reasoning_task(f"reasoning-gym/{name}/{seed}/{i}", entry, values) for i, entry in enumerate(entries)]


def _settings(generator: str, settings: list[str]) -> dict[str, int]:
    """Return settings such as "size=100" as numbers by name. Raises TaskError, which names ``generator``, for other texts."""
    values = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"-?\d{1,12}", value):
            raise TaskError(
                f"reasoning-gym:{generator}: {text!r} is not a setting; a setting looks like size=100 or seed=0. "
                f"{did_you_mean(key, ('size', 'seed'))}".rstrip()
            )
        values[key] = int(value)
    return values


def _reasoning_task(id_: str, entry: Mapping[str, Any], settings: Mapping[str, int]) -> Task:
    """Return the task of one record of a generator, which was made with ``settings``."""
    checks = entry_checks(entry, settings)
    answer = entry.get("answer")
    shown = answer or '""'  # a task whose answer is an empty text asks for it as ""
    return Task(
        id=id_,
        domain="reasoning",
        statement=entry["question"].strip(),
        entry_point="answer",
        public=checks,
        hidden=checks,
        reference="" if answer is None else f"Answer: {shown}\n",
        source="reasoning-gym",
    )
