# %% [markdown]
# # Tasks of your own
#
# Anything with an automatic check can be learned from: tasks written down, a file of them, or the functions of your
# own package with the tests they have already.

# %%
import mlx_selfdebug as sd
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.domains.running import open_runner

# %% [markdown]
# ## Written down
#
# Public checks are shown to the model, hidden ones score. The reference proves the checks: it must pass them.

# %%
bowls = sd.Task(
    id="kitchen/bowls",
    domain="python",
    statement="Return how many bowls of the given size are needed for an amount of soup. The last bowl need not be full.",
    entry_point="bowls",
    starter_code="def bowls(amount: int, size: int) -> int:",
    public=sd.Checks.from_asserts(["assert bowls(10, 4) == 3", "assert bowls(8, 4) == 2"]),
    hidden=sd.Checks.from_asserts(
        [f"assert bowls({a}, {s}) == {-(-a // s)}" for a, s in [(0, 3), (1, 3), (3, 3), (4, 3), (9, 1)]]
    ),
    reference="def bowls(amount: int, size: int) -> int:\n    return -(-amount // size)\n",
)
with open_runner(SandboxConfig(), [bowls]) as runner:
    print(sd.check_tasks([bowls], runner) or "sound")

# %% [markdown]
# ## A file, a line a task
#
# Every problem of a file is listed at once, with its line.

# %%
from pathlib import Path

Path("runs").mkdir(exist_ok=True)
sd.dump_tasks([bowls], "runs/kitchen.jsonl")
print(sd.load_tasks("runs/kitchen.jsonl"))

# %%
Path("runs/broken.jsonl").write_text('{"id": "a"}\n{"id": "a", "statement": 3}\nnot json\n')
try:
    sd.load_tasks("runs/broken.jsonl")
except sd.SelfDebugError as error:
    print(error)

# %% [markdown]
# ## Your own package
#
# `functions:FOLDER` makes a task of every function that two of your tests call, one to show and one to
# score: the model writes it anew. `bugs:FOLDER` puts a bug that your tests catch into each, and the model mends it.

# %%
shop = Path("runs/shop")
shop.mkdir(parents=True, exist_ok=True)
(shop / "prices.py").write_text('''
def total(prices: list[int], discount: int = 0) -> int:
    """The sum of the prices, less a discount in percent, rounded down; never below 0."""
    whole = sum(prices) * (100 - discount) // 100
    return max(0, whole)


def cheapest(prices: dict[str, int]) -> str:
    """The name of the cheapest thing; of equally cheap ones the first in the alphabet."""
    return min(prices, key=lambda name: (prices[name], name))
''')
(shop / "test_prices.py").write_text("""
from prices import cheapest, total


def test_total():
    assert total([10, 20]) == 30
    assert total([]) == 0


def test_total_with_a_discount():
    assert total([10, 20], 50) == 15
    assert total([9], 10) == 8
    assert total([5], 200) == 0


def test_cheapest():
    assert cheapest({"tea": 3, "jam": 2}) == "jam"
    assert cheapest({"jam": 2}) == "jam"


def test_cheapest_of_equals():
    assert cheapest({"b": 1, "a": 1}) == "a"
    assert cheapest({"c": 2, "b": 1, "a": 1}) == "a"
""")
mine, bugs = sd.load_tasks(f"functions:{shop}"), sd.load_tasks(f"bugs:{shop}")
print([task.id for task in mine])
print([task.id for task in bugs])

# %%
print(bugs[0].statement)

# %% [markdown]
# ## Learn from them
#
# The same calls as on any other set; on the command line, `mlx-selfdebug run --collect-tasks functions:runs/shop`.

# %%
config = sd.load_config(overrides={"preset": "demo", "collect.samples": 2})
model = sd.load_model(config.model)
with sd.Run("runs/own-tasks", config) as run:
    attempts = sd.collect(run, model, [bowls, *mine], progress=sd.Bars())
for attempt in attempts:
    print(f"{attempt.id:40} {attempt.verdict.outcome}")
