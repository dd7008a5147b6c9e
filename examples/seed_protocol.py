# %% [markdown]
# # The protocol this project began with
#
# A community experiment trained a 0.8B model with LoRA of rank 4 on 13 repair pairs in about three minutes on a
# MacBook Air M4, and reported "16/50 to 28/50 on HumanEval". Its 50 are the *test inputs* of eight problems,
# HumanEval/40 to 47; of the eight problems the model solved two before and four after. Here the same protocol, with
# both units printed and the control that was missing: drawing again at the same number of tokens. Eight problems
# cannot show an effect of any likely size, whichever way they come out.

# %%
import mlx_selfdebug as sd

config = sd.load_config(
    overrides={
        "preset": "cpu",
        "collect.limit": 16,
        "collect.samples": 4,
        "collect.max_tokens": 120,
        "train.rank": 4,
        "train.learning_rate": 1e-4,
        "train.max_pairs": 13,
        "train.targets": "own",
        "train.repair_share": 1.0,
        "train.bug_share": 0.0,
        "train.direct_share": 0.0,
        "train.keep_share": 0.0,
        "train.minimal_share": 1.0,  # the nearest right code is the target
        "train.batch_size": 1,
        "train.epochs": 3,  # 13 pairs, 39 steps
        "train.held_back_share": 0.0,
        "eval.arms": "blind,facts",
        "eval.bugs": "none",
        "collect.edits": 0,  # the protocol asks for repairs alone
        "collect.forks": 0,
        "collect.rounds": 1,
        "collect.bugs": 0,
    }
)
model = sd.load_model(config.model)
tasks = sd.load_tasks(config.collect.tasks).spread(config.collect.limit)
held_out = [task for task in sd.load_tasks("humaneval") if 40 <= int(task.id.rpartition("/")[2]) <= 47]
print(", ".join(task.id for task in held_out))

# %% [markdown]
# Repair pairs alone, from the starter set: never from a problem that is evaluated on.

# %%
with sd.Run("runs/seed-protocol", config) as run:
    attempts = sd.collect(run, model, tasks, progress=sd.Bars())
    if not run.pairs():
        print("no task was both failed and solved: references take the place of pairs")
        run.replace_pairs(sd.reference_pairs(tasks[:13]))
    n_pairs = len(run.pairs())
print(f"{sum(attempt.passed for attempt in attempts)} of {len(attempts)} attempts passed; {n_pairs} pairs")

# %%
with sd.Run("runs/seed-protocol") as run:
    adapter = sd.train(run, model, tasks=tasks, progress=sd.Bars())
    stage, n_steps = run.stages()["train"], len(run.steps())
print(f"{n_steps} steps in {stage.wall_s:.0f} s, {stage.peak_bytes / 1e9:.2f} GB of the whole process tree")

# %%
with sd.Run("runs/seed-protocol") as run:
    result = sd.evaluate(run, model, adapter, held_out, progress=sd.Bars())
print(result)

# %% [markdown]
# In both units:

# %%
for name, found in result.models.items():
    for when, score in (("first draft", found.first_pass), ("after repair", found.after_repair)):
        (solved, problems), (passed, checks) = score.problems, score.checks
        print(f"{name:8} {when:12} {solved} of {problems} problems, {passed} of {checks} test inputs")
