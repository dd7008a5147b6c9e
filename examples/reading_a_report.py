# %% [markdown]
# # Reading a run
#
# What a run did and found, from its records: the run that *First steps* left in `runs/first-steps`, or any other.
# Everything a report shows can be had as values and as data frames (`pip install 'mlx-selfdebug[report]'`).

# %%
from pathlib import Path

import mlx_selfdebug as sd

FOLDER = Path("runs/first-steps")
if not (FOLDER / "run.db").exists():
    raise SystemExit(f"{FOLDER} is not there: run first_steps first")
with sd.open_stored(FOLDER) as run:
    stages, attempts, pairs, steps = run.stages(), run.attempts(), run.pairs(), run.steps()
for name, stage in stages.items():
    print(f"{name:9} {stage.wall_s:7.1f} s  {stage.peak_bytes / 1e9:5.2f} GB of the whole process tree")

# %% [markdown]
# ## Attempts
#
# How drafts ended, by task.

# %%
frame = attempts.to_frame()
drafts = frame[frame.arm == "collect"]
by_task = drafts.groupby("task_id").outcome.value_counts().unstack(fill_value=0)
print(by_task)

# %% [markdown]
# The commonest fact of a task's failures says more than its pass rate.

# %%
from collections import Counter

for task_id in by_task.index[:4]:
    failures = [f for a in attempts if (a.arm, a.task_id) == ("collect", task_id) for f in a.verdict.failures[:1]]
    facts = Counter(f"{f.check or 'loading it'}: {f.error.type if f.error else f'got {f.got}'}" for f in failures)
    for fact, times in facts.most_common(1):
        print(f"{task_id}, {times} of {facts.total()} failures\n    {fact}")

# %% [markdown]
# ## What was learned from
#
# A repair pair shows the failed code with its facts, and the target.

# %%
pair = next((pair for pair in pairs if pair.kind == "repair"), pairs[0])
print(pair)

# %%
for step in steps[-3:]:
    print(f"step {step.step}: loss {step.loss:.3f} on {step.n_tokens} tokens")

# %% [markdown]
# ## The claim
#
# Two units, always: problems solved, and checks passed. The primary figure is the adapter's repairs against the
# better of base and adapter drawing again, at equal tokens, with its interval and an exact test. With a handful of
# tasks it can show nothing, and says so.

# %%
with sd.open_stored(FOLDER) as run:
    result, evidence = sd.read_result(run), sd.read_evidence(run)
print(result)

# %%
print(result.primary)
gain = evidence.smallest_gain
shows = "too few to show a gain of any size" if gain is None else f"can show a gain of {100 * gain:.0f} points or more"
print(f"{len(evidence.tasks)} tasks, {shows}")

# %% [markdown]
# The report is the same as one page of HTML, and as Markdown:

# %%
with sd.open_stored(FOLDER) as run:
    print(sd.write_report(run))
