"""Define every setting and its default, in one frozen dataclass per section. Defaults are defined nowhere else.

A section is a stage of a run, or something that all stages need: the sandbox and the memory budgets. TOML keys, environment
variables and command-line options are derived from these classes (``setting.py``). A new setting is a new field here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _setting(
    default: Any, text: str, *, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """Return the field of a setting. ``text`` is its help, ``low`` and ``high`` are the smallest and the largest allowed value.

    The type is ``Any`` so that the field can have the type of its default, as with ``dataclasses.field``.
    """
    return field(default=default, metadata={"help": text, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class DecodingConfig:
    """The settings of decoding, which collecting and the evaluation have in common."""

    temperature: float = _setting(0.8, "sampling temperature of drafts and repairs; 0 = greedy", low=0, high=5)
    min_p: float = _setting(
        0.05, "drop tokens less likely than this share of the most likely token's probability", low=0, high=1
    )
    max_tokens: int = _setting(320, "maximum length of a completion, in tokens", low=1, high=32768)
    batch_size: int = _setting(
        64, "maximum number of completions decoded side by side; fewer if memory is short", low=1, high=512
    )


@dataclass(frozen=True)
class CollectConfig(DecodingConfig):
    """The settings of collecting: drafts and repairs on the training tasks."""

    tasks: str = _setting(
        "starter", "task set to learn from: a name (see `tasks list`), NAME:PATH, a .jsonl file or a folder"
    )
    limit: int = _setting(0, "use only this many tasks, spread evenly over the set; 0 = all", low=0)
    weak_share: float = _setting(
        0.5,
        "leave out tasks whose checks catch less than this share of wrong programs (see `tasks audit`); 0 = none",
        low=0,
        high=1,
    )
    samples: int = _setting(8, "drafts per task", low=1, high=256)
    edits: int = _setting(
        3, "failed drafts per task that are searched for a small edit that passes; 0 = none", low=0, high=64
    )
    forks: int = _setting(
        2, "surprising places from which a failed draft is completed anew if no edit passes; 0 = none", low=0, high=16
    )
    rounds: int = _setting(1, "rounds of repair prompts for a task that nothing else has solved", low=0, high=8)
    repairs: int = _setting(
        2, "different failed attempts per task that are forked, or repaired per round", low=1, high=64
    )
    bugs: int = _setting(
        4, "bugs put into correct programs of each task, to learn to fix them; 0 = none", low=0, high=256
    )
    bug_edits: int = _setting(2, "maximum number of small edits that make up one bug", low=1, high=8)


@dataclass(frozen=True)
class TrainConfig:
    """The settings of training: the mix of pairs, the adapter, and the training by rewards."""

    targets: str = _setting(
        "reference",
        "correct code to learn from: only the model's own (own), or the task's reference if the model wrote none (reference)",
        choices=("own", "reference"),
    )
    repair_share: float = _setting(
        0.3, "share of repair pairs (the model's own failed code + facts -> correct code)", low=0, high=1
    )
    bug_share: float = _setting(
        0.4, "share of bug pairs (correct code with a bug put in + facts -> correct code)", low=0, high=1
    )
    direct_share: float = _setting(0.15, "share of direct pairs (task -> correct code)", low=0, high=1)
    keep_share: float = _setting(0.15, "share of keep pairs (code that passes -> the same code)", low=0, high=1)
    minimal_share: float = _setting(
        0.0,
        "share of repair and bug pairs whose target is as near to the failed code as possible, not another correct draft",
        low=0,
        high=1,
    )
    max_pairs: int = _setting(
        200, "maximum number of pairs to train on; 0 = none, for a training by rewards alone", low=0
    )
    failed_per_task: int = _setting(
        3,
        "maximum number of failed attempts per task made into repair pairs, and of its bugs made into bug pairs",
        low=1,
        high=64,
    )
    facts: str = _setting(
        "own",
        "facts in repair and bug prompts: those of the failed code (own), of another task (other, a control), or none (a control)",
        choices=("own", "other", "none"),
    )
    hide_facts_share: float = _setting(
        0.2, "share of repair and bug prompts that hide all facts but the first", low=0, high=1
    )
    blank_share: float = _setting(
        0.0, "share of repair and bug prompts in which some lines of the failed code are blanked", low=0, high=1
    )
    copied_weight: float = _setting(
        1.0, "weight of target tokens copied from the failed code; tokens that change it weigh 1", low=0, high=1
    )
    distilled_share: float = _setting(
        0.0,
        "share of each target token's weight for imitating the base model, which is shown the task alone (self-distillation)",
        low=0,
        high=1,
    )
    method: str = _setting(
        "lora", "lora, or dora (slower: it also learns the magnitudes of the weights)", choices=("lora", "dora")
    )
    rank: int = _setting(8, "LoRA rank", low=1, high=512)
    scale: float = _setting(2.0, "LoRA scale (alpha / rank)", low=0)
    layers: int = _setting(-1, "number of layers, from the top, that get an adapter; -1 = all", low=-1)
    learning_rate: float = _setting(
        1e-4, "peak learning rate of AdamW, with linear warm-up, then cosine", low=0, high=1
    )
    epochs: int = _setting(1, "passes over the pairs", low=1, high=100)
    batch_size: int = _setting(4, "pairs per optimizer step (gradients are accumulated)", low=1, high=512)
    held_back_share: float = _setting(
        0.2,
        "share of the tasks with both failed and passing attempts that is held back to choose the best checkpoint",
        low=0,
        high=0.9,
    )
    patience: int = _setting(3, "epochs without a better checkpoint after which training stops; 0 = never", low=0)
    cooldown_s: float = _setting(0.0, "seconds of rest every half minute, for machines without a fan", low=0, high=600)
    max_length: int = _setting(1024, "maximum length of a pair in tokens; longer ones are left out and counted", low=16)
    reward_steps: int = _setting(
        0, "steps of training by rewards, which follows the training on pairs; 0 = none", low=0, high=100_000
    )
    reward_prompts: int = _setting(8, "prompts per reward step, each completed as a group", low=1, high=512)
    reward_group_size: int = _setting(8, "completions per prompt, drawn at a temperature of 1", low=2, high=256)
    reward_max_tokens: int = _setting(
        256, "maximum length of a completion that is rewarded, in tokens", low=1, high=32768
    )
    reward_repair_share: float = _setting(
        0.4, "share of reward prompts that show the model's own failed code and its facts", low=0, high=1
    )
    reward_bug_share: float = _setting(
        0.4, "share of reward prompts that show correct code with a bug put in and its facts", low=0, high=1
    )
    reward_draft_share: float = _setting(0.2, "share of reward prompts that show the task alone", low=0, high=1)
    reward_by: str = _setting(
        "checks",
        "what is rewarded: programs that pass the public and hidden checks (checks), or chance (random, a control)",
        choices=("checks", "random"),
    )
    reward_of_copy: float = _setting(
        -0.1,
        "reward of a verbatim copy of the failed code; a program that passes gets 1, and any other gets 0",
        low=-10,
        high=0,
    )
    reward_learning_rate: float = _setting(
        2e-5, "learning rate of AdamW in training by rewards, constant after a linear warm-up", low=0, high=1
    )
    reward_kl: float = _setting(
        0.0, "weight of the divergence from the base, KL(base || model) per token, in training by rewards", low=0
    )
    reward_every: int = _setting(
        10, "reward steps between two tries of the held-back tasks, by which the best step is chosen", low=1
    )
    reward_barren: int = _setting(
        10, "training by rewards ends after this many steps in a row in which every group has equal rewards", low=1
    )


@dataclass(frozen=True)
class EvalConfig(DecodingConfig):
    """The settings of the evaluation, which compares base and adapter on held-out tasks and bugs, at equal tokens per arm."""

    tasks: str = _setting("humaneval", "held-out task set: a name, NAME:PATH, a .jsonl file or a folder")
    limit: int = _setting(0, "use only this many tasks, spread evenly over the set; 0 = all", low=0)
    arms: str = _setting(
        "blind,notice,code,facts,other-facts,edits,forks,edits+blind,edits+forks+blind,edits+forks+facts",
        "arms to compare, separated by commas: what is tried after a program failed",
    )
    tokens: int = _setting(480, "tokens an arm may generate per task, including its first draft", low=1)
    forks: int = _setting(
        2,
        "places from which a failed program is completed anew in the arms that fork, after three lines were written anew",
        low=1,
        high=32,
    )
    public_checks: str = _setting(
        "shown",
        "whether prompts show the public checks (shown), or leave them out, as where the model has not seen the tests (hidden)",
        choices=("shown", "hidden"),
    )
    bugs: str = _setting(
        "operators",
        "what else to repair: bugs put into references (operators), humanevalfix, humanevalfix:FILE, or none",
    )
    bugs_per_task: int = _setting(1, "bugs put into each task's reference", low=1, high=64)
    bugs_limit: int = _setting(0, "use only this many bugs, spread evenly over the tasks; 0 = all", low=0)
    hard_drafts: int = _setting(
        0, "drafts per task to find the hard tasks, for which no draft is correct; 0 = do not look", low=0, high=256
    )
    temperature: float = _setting(0.8, "sampling temperature after the first draft, which is greedy", low=0, high=5)
    max_tokens: int = _setting(384, "maximum length of a completion, in tokens", low=1, high=32768)


@dataclass(frozen=True)
class SandboxConfig:
    """The limits of one test run, and the number of test runs side by side."""

    workers: int = _setting(2, "number of test runs side by side", low=1, high=256)
    wall_s: float = _setting(5.0, "wall-clock limit of a test run, in seconds", low=0.05, high=3600)
    cpu_s: float = _setting(4.0, "CPU time limit of a test run, in seconds", low=0.05, high=3600)
    memory_mb: int = _setting(512, "memory limit of a test run, in MB (10^6 bytes; on Linux)", low=64)


@dataclass(frozen=True)
class BudgetConfig:
    """The memory that the whole process tree may take, in GB of 10^9 bytes."""

    training_gb: float = _setting(10.0, "maximum memory for training, in GB", low=0.1, high=10_000)
    inference_gb: float = _setting(
        6.0, "maximum memory for drafting, repairing and evaluating, in GB", low=0.1, high=10_000
    )


@dataclass(frozen=True)
class Config:
    """All settings of a run. In TOML, those without a section are top-level keys, and each section is a table."""

    model: str = _setting("qwen2.5-coder-0.5b", "alias (see `models list`), hub repository, folder or .gguf file")
    seed: int = _setting(0, "seed of all random choices", low=0, high=2**31 - 1)
    preset: str = _setting("auto", "demo, air, full, cpu, seed, or auto (cpu if MLX has no GPU, else air)")
    track: str = _setting(
        "", "trackers that the figures of the run are sent to, separated by commas: trackio, wandb, tensorboard"
    )
    collect: CollectConfig = field(default_factory=CollectConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)


ADJUSTABLE = frozenset({"budget.inference_gb", "budget.training_gb", "sandbox.workers", "track", "train.cooldown_s"})
"""The settings that may change from one session of a run to the next. They affect how fast results come and where figures are
shown, but not the results."""
