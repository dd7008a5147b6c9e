# %% [markdown]
# # First steps
#
# A small code model drafts solutions, their tests say what broke, it repairs them, and it is trained on its own
# repairs. Here every step by itself, on a few tasks: under ten minutes on two CPU cores, and far too little to show
# an effect.
#
# `MLX_SELFDEBUG_MODEL` chooses another model. A cell that is interrupted loses nothing: run it again, and it goes on
# from what is stored.

# %%
import mlx_selfdebug as sd

config = sd.load_config(overrides={"preset": "demo"})
model = sd.load_model(config.model)
print(model)

# %% [markdown]
# ## Tasks
#
# A task has a statement, public checks that the model is shown, and hidden ones that score. `starter-mixed` are those of
# our own that this model sometimes solves: where it always fails, or never, there is nothing to learn.

# %%
tasks = sd.load_tasks(config.collect.tasks).spread(config.collect.limit)
print(tasks[0].statement)
print(tasks[0].public.source)

# %% [markdown]
# ## Draft, test, repair
#
# Everything is stored in the run's folder as it is finished. `with` lets go of the run at the end of a cell, also of
# one that is interrupted.

# %%
with sd.Run("runs/first-steps", config) as run:
    attempts = sd.collect(run, model, tasks, progress=sd.Bars())
print(attempts[:6])

# %% [markdown]
# A failure is facts: the check, its input, what was expected, what came. That is what the model is shown when it
# repairs.

# %%
failed = next(attempt for attempt in attempts if attempt.verdict.failures)
fact = failed.verdict.failures[0]
print(failed.code)
print(fact)

# %% [markdown]
# ## Pairs
#
# Failed code and its facts, and the nearest right code of the same task, make a pair. Bugs that were put into right
# code make more of them. Where the model has solved nothing, the task's reference is the right code.

# %%
with sd.Run("runs/first-steps") as run:
    pairs = run.pairs()
print(pairs[:3])

# %% [markdown]
# ## Train, evaluate, report
#
# LoRA on these pairs; then base and adapter on tasks neither has seen, each against drawing again at the same number
# of tokens.

# %%
with sd.Run("runs/first-steps") as run:
    adapter = sd.train(run, model, tasks=tasks, progress=sd.Bars())
print(adapter)

# %%
held_out = sd.load_tasks("humaneval").spread(config.eval.limit)
with sd.Run("runs/first-steps") as run:
    result = sd.evaluate(run, model, adapter, held_out, progress=sd.Bars())
print(result)

# %%
with sd.Run("runs/first-steps") as run:
    print(sd.write_report(run))
