# %% [markdown]
# # Fix failing tests
#
# A function is wrong and a test shows it. The model reads the function, small edits are tried where it stumbles, and what makes
# the test pass is proven by all tests. No training is needed. In a project, `mlx-selfdebug fix` does the same with the
# project's own test suite.
#
# `MLX_SELFDEBUG_MODEL` chooses another model.

# %%
import mlx_selfdebug as sd

model = sd.load_model(sd.load_config().model)

source = '''
def median(values):
    """Return the middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    n = len(ordered)
    if n % 2 == 1:
        return ordered[n // 2]
    return (ordered[n // 2 - 1] + ordered[n // 2 + 1]) / 2
'''
tests = """
assert median([3, 1, 2]) == 2
assert median([5]) == 5
assert median([4, 1, 3, 2]) == 2.5
assert median([1, 2]) == 1.5
"""

# %% [markdown]
# ## A program and its tests as text
#
# The result shows the tests before and after, the change and what was tried. In a notebook it also shows the function as the model
# read it: the darker a token, the more it would rather have written something else there.

# %%
result = sd.fix(source, tests, model)
print(result)

# %% [markdown]
# The result is a value, so a program can go on from it.

# %%
print(result.outcome, result.change.function, result.change.by)
print({step: round(seconds, 1) for step, seconds in result.seconds.items()})

# %% [markdown]
# ## A folder with a test suite
#
# Nothing is written to the project: its tests run confined, in a copy of it. `mlx_selfdebug.fixing.apply_change` writes the
# change and keeps a copy of the file, as `mlx-selfdebug fix --apply` does.

# %%
from pathlib import Path

project = Path("runs/fix-example")
project.mkdir(parents=True, exist_ok=True)
(project / "windows.py").write_text('''class Window:
    """Keeps the last values."""

    def __init__(self, size):
        self.size, self.values = size, []

    def add(self, value):
        """Add a value, and forget the oldest one if there are more than fit."""
        self.values.append(value)
        if len(self.values) < self.size:
            self.values.pop(0)
        return self.values
''')
(project / "test_windows.py").write_text("""from windows import Window


def test_values_are_kept():
    window = Window(3)
    window.add(1)
    assert window.add(2) == [1, 2]


def test_the_oldest_value_is_forgotten():
    window = Window(2)
    for value in (1, 2, 3):
        window.add(value)
    assert window.values == [2, 3]
""")

# %%
fixed = sd.fix_project(project, model)
print(fixed)

# %%
print(fixed.change.diff())
