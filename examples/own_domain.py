# %% [markdown]
# # A domain of one's own: schedules in cron's notation
#
# One class, registered; after that everything works on its tasks. A task asks for a schedule in words, an answer is a
# line like `30 9 * * 1-5`, and a check says at which minutes it fires. The class says how a task is asked, what is
# taken out of a reply, and which program the test runner runs for it; the loop, the store, training and evaluation
# know nothing of cron. With an entry point of the group `mlx_selfdebug.domains` the command line knows it too. About
# three minutes on two CPU cores.

# %%
import re
from collections.abc import Sequence
from concurrent.futures import Future

import mlx_selfdebug as sd
from mlx_selfdebug import Checks, Failure, Task, TestRunner, Verdict
from mlx_selfdebug.domains import Prompted, Tidied, fenced_or_whole, register, tested_text

# %% [markdown]
# ## What is run
#
# The answer is put behind this program as `LINE`; checks are asserts on `fires`.

# %%
PROGRAM = '''
import datetime

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))

def fires(minute):
    """Whether LINE fires at a minute like "2024-03-18 09:30"."""
    at = datetime.datetime.strptime(minute, "%Y-%m-%d %H:%M")
    now = (at.minute, at.hour, at.day, at.month, at.isoweekday() % 7)
    fields = LINE.split()
    if len(fields) != 5:
        raise ValueError(f"a schedule has 5 fields, not {len(fields)}")
    return all(value in allowed(field, *limits) for value, field, limits in zip(now, fields, RANGES))

def allowed(field, low, high):
    values = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, dash, last = ("%d-%d" % (low, high) if span == "*" else span).partition("-")
        start, end = int(first), int(last if dash else first)
        if not low <= start <= end <= high:
            raise ValueError(f"{part!r} is not within {low} to {high}")
        values |= set(range(start, end + 1, int(step or 1)))
    return values
'''


# %% [markdown]
# ## The domain


# %%
class CronDomain(Prompted):
    name = "cron"
    fence = "cron"
    draft = "Write one line of a crontab: minute, hour, day of the month, month and weekday (0 is Sunday), no command.\n\n{task}"
    again = "Write the line again so that it passes."
    tested = "This line was tested:\n\n{code}\n\n{facts}"

    def task_text(self, task: Task, *, public_checks: bool) -> str:
        return task.statement

    def failure_text(self, failure: Failure, verdict: Verdict, task: Task) -> str:
        return tested_text(failure, verdict)

    def extract(self, text: str, task: Task) -> Tidied:
        """The first five fields of the reply's first line; a command behind them is no part of the answer."""
        tidied = fenced_or_whole(text)
        return Tidied(" ".join(tidied.code.strip().split("\n")[0].split()[:5]) + "\n", tidied.steps)

    def judge(self, code: str, task: Task, checks: Checks, runner: TestRunner) -> Future[Verdict]:
        return runner.submit(f"{PROGRAM}\nLINE = {code!r}\n", checks, "fires")

    def nothing(self, task: Task) -> str:
        return "0 0 31 2 *\n"

    def normalise(self, code: str) -> str:
        return " ".join(code.split())

    def tokens(self, code: str) -> Sequence[str]:
        return re.findall(r"\d+|\S", code)


register(CronDomain())


# %% [markdown]
# ## Tasks
#
# 2024-03-18 is a Monday.


# %%
def task(name: str, statement: str, reference: str, public: dict[str, bool], hidden: dict[str, bool]) -> Task:
    def checks(minutes: dict[str, bool]) -> Checks:
        return Checks.from_asserts(f"assert fires({minute!r}) == {fires}" for minute, fires in minutes.items())

    return Task(
        f"cron/{name}", "cron", statement, "fires", "", checks(public), checks(hidden), reference=reference + "\n"
    )


MORNING, SUNDAY = {"2024-03-18 09:30": True, "2024-03-18 09:31": False}, {"2024-03-17 09:30": False}
TASKS = [
    task(
        "workdays",
        "At 9:30 from Monday to Friday.",
        "30 9 * * 1-5",
        MORNING,
        {**SUNDAY, "2024-03-22 09:30": True, "2024-03-18 10:30": False},
    ),
    task(
        "hourly",
        "At the beginning of every hour.",
        "0 * * * *",
        {"2024-03-18 09:00": True},
        {"2024-03-17 00:00": True, "2024-03-18 09:01": False},
    ),
    task(
        "quarters",
        "Every 15 minutes.",
        "*/15 * * * *",
        {"2024-03-18 09:45": True},
        {"2024-03-17 00:00": True, "2024-03-18 09:20": False},
    ),
    task(
        "monthly",
        "At midnight on the first day of every month.",
        "0 0 1 * *",
        {"2024-03-01 00:00": True},
        {"2024-04-01 00:00": True, "2024-03-02 00:00": False, "2024-03-01 01:00": False},
    ),
    task(
        "sundays",
        "At 18:00 on Sundays.",
        "0 18 * * 0",
        {"2024-03-17 18:00": True},
        {"2024-03-18 18:00": False, "2024-03-17 17:00": False, "2024-03-24 18:00": True},
    ),
    task(
        "new-year",
        "At midnight on the first of January.",
        "0 0 1 1 *",
        {"2024-01-01 00:00": True},
        {"2024-02-01 00:00": False, "2025-01-01 00:00": True, "2024-01-01 12:00": False},
    ),
    task(
        "twice-a-day",
        "At 8:00 and at 20:00 every day.",
        "0 8,20 * * *",
        {"2024-03-18 08:00": True, "2024-03-18 20:00": True},
        {"2024-03-18 09:00": False, "2024-03-17 20:00": True, "2024-03-18 08:20": False},
    ),
    task(
        "office-hours",
        "Every 30 minutes from 9:00 to 16:30.",
        "*/30 9-16 * * *",
        {"2024-03-18 09:00": True, "2024-03-18 17:00": False},
        {"2024-03-18 16:30": True, "2024-03-18 08:30": False, "2024-03-18 12:15": False},
    ),
]


# %% [markdown]
# ## Everything else is there

# %%
settings = {
    "preset": "cpu",
    "collect.samples": 4,
    "collect.max_tokens": 24,
    "train.max_pairs": 8,
    "eval.tokens": 96,
    "eval.max_tokens": 24,
}
config = sd.load_config(overrides=settings)
model = sd.load_model(config.model)
with sd.Run("runs/own-domain", config) as run:
    attempts = sd.collect(run, model, TASKS[:6], progress=sd.Bars())
for attempt in attempts[:6]:
    print(f"{attempt.id:32} {attempt.verdict.outcome:10} {attempt.code.strip()}")

# %%
with sd.Run("runs/own-domain") as run:
    if not run.pairs():
        print("no task was both failed and solved: references take the place of pairs")
        run.replace_pairs(sd.reference_pairs(TASKS[:6]))
    adapter = sd.train(run, model, tasks=TASKS[:6], progress=sd.Bars())
    result = sd.evaluate(run, model, adapter, TASKS[6:], trained_on=TASKS[:6], progress=sd.Bars())
print(result)
