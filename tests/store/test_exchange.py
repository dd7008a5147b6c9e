"""A run as JSONL comes back as the same rows, or not at all."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.errors import StoreError
from mlx_selfdebug.store import Run, export_run, import_run, reading
from mlx_selfdebug.store.exchange import TYPES
from mlx_selfdebug.store.rows import ATTEMPTS, storable
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.pair import KINDS, Pair
from mlx_selfdebug.values.step import Step
from mlx_selfdebug.values.verdict import OUTCOMES, ErrorFact, Failure, Verdict

from ..support.values import FAILED, small_config

ODD = ["\0", "\ud800", "\u2028", "\x85", "\r\n", "\ufeff", "é", "\U0001f600", '"', "\\ud800"]
texts = st.lists(st.sampled_from(ODD) | st.text(max_size=5), max_size=4).map("".join)
whole = st.integers(-(2**63), 2**63 - 1)
numbers = st.floats(allow_nan=False)
errors = st.none() | st.builds(ErrorFact, texts, texts, whole, texts)
failures = st.builds(Failure, texts, texts, texts, st.sampled_from(["value", "raises"]), texts, errors)
verdicts = st.builds(
    Verdict,
    st.sampled_from(OUTCOMES),
    st.lists(failures, max_size=2).map(tuple),
    whole,
    whole,
    numbers,
    numbers,
    whole,
    texts,
)
tuples = st.lists(texts, max_size=3).map(tuple)
attempts = st.builds(
    Attempt,
    texts,
    texts,
    whole,
    whole,
    texts,
    texts,
    texts,
    texts,
    verdicts,
    verdicts,
    whole,
    whole,
    whole,
    texts,
    tuples,
)
pairs = st.builds(Pair, st.sampled_from(KINDS), texts, texts, texts, texts, tuples)
json_values = st.recursive(
    st.none() | st.booleans() | whole | numbers | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
)


def contents(path: Path) -> dict[str, list[Any]]:
    with reading(path) as db:
        return {name: list(table.read(db)) for name, table in TYPES.items()}


def export(path: Path) -> str:
    file = io.StringIO()
    export_run(path, file)
    return file.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(attempts, max_size=4),
    st.lists(pairs, max_size=3),
    st.dictionaries(texts, json_values, max_size=3),
    st.dictionaries(whole, st.tuples(numbers, whole, numbers, numbers, numbers), max_size=3),
    st.dictionaries(texts, st.tuples(numbers, whole, st.booleans()), max_size=3),
)
def test_a_run_comes_back_from_jsonl_as_it_was(
    some_attempts: list[Attempt],
    some_pairs: list[Pair],
    environment: dict[str, Any],
    steps: dict[int, Any],
    stages: dict[str, Any],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second, file = (Path(folder, name) for name in ("first", "second", "run.jsonl"))
        with Run(first, small_config(seed=7, collect__tasks="mine.jsonl")) as run:
            for attempt in some_attempts:
                run.add_attempt(attempt)
            run.replace_pairs(some_pairs)
            for key, value in environment.items():
                run.remember(key, value)
            for step, (loss, n, rate, norm, wall) in steps.items():
                run.add_step(Step(step, loss, n, rate, norm, wall))
            for name, (wall, peak, done) in stages.items():
                run.add_stage_time(
                    name, wall, peak, done=done, parts={"decoding": wall}, memory=[(0.0, peak), (wall, 1)]
                )
        file.write_text(export(first), encoding="utf-8")
        import_run(file, second)
        assert contents(second) == contents(first)
        assert export(second) == export(first)
        assert (second / "config.toml").read_bytes() == (first / "config.toml").read_bytes()


@given(attempts)
@settings(max_examples=100, deadline=None)
def test_an_attempt_with_storable_texts_comes_back_exactly(attempt: Attempt) -> None:
    texts_of = {k: storable(v) for k, v in vars(attempt).items() if isinstance(v, str)}
    clean = replace(attempt, **texts_of)
    row = dict(zip(ATTEMPTS.columns, ATTEMPTS.to_row(clean), strict=True))
    assert ATTEMPTS.from_row(row) == clean  # type: ignore[arg-type]


COUNTS = {"attempt": 3, "pair": 1, "step": 1, "stage": 1, "memory": 0, "part": 0, "environment": 1, "reward_step": 0}
"""The lines of the run that is exported here, by what they hold."""


@pytest.fixture
def exported(run: Run, tmp_path: Path) -> Path:
    """A run's export, of eight lines."""
    for sample in range(3):
        run.add_attempt(make_attempt(sample=sample, verdict=FAILED))
    run.replace_pairs([Pair("repair", "python", "t", "p", "t", ("a", "b"))])
    run.add_step(Step(1, 0.5, 9, 1e-4, 1.0, 2.0))
    run.add_stage_time("collect", 1.5, 10**9, done=True)
    run.remember("model", {"name": "tiny"})
    file = tmp_path / "run.jsonl"
    file.write_text(export(run.path), encoding="utf-8")
    return file


def test_the_first_line_says_what_follows(exported: Path, run: Run) -> None:
    header = json.loads(exported.read_text().splitlines()[0])
    assert header["type"] == "run"
    assert header["lines"] == COUNTS
    assert header["config"]["collect.samples"] == run.config.collect.samples


def test_an_imported_run_can_be_gone_on_with(exported: Path, tmp_path: Path) -> None:
    counts = import_run(exported, tmp_path / "copy")
    assert counts == COUNTS
    with Run(tmp_path / "copy") as copy:
        copy.add_attempt(make_attempt(sample=3))
        assert len(copy.attempts()) == 4


def edit(number: int, **changes: Any) -> Callable[[list[str]], None]:
    """Change keys of line ``number``; None takes one away."""

    def change(lines: list[str]) -> None:
        data = {**json.loads(lines[number - 1]), **changes}
        lines[number - 1] = json.dumps({key: value for key, value in data.items() if value is not None})

    return change


def put(number: int, line: str) -> Callable[[list[str]], None]:
    def change(lines: list[str]) -> None:
        lines[number - 1] = line

    return change


def cut(count: int) -> Callable[[list[str]], None]:
    def change(lines: list[str]) -> None:
        del lines[-count:]

    return change


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (cut(8), ":1: not JSON"),
        (cut(1), ":1: lines.environment: the header says 1, but there are 0"),
        (put(1, '{"type": "attempt"}'), ":1: type: 'attempt', but the first line must be the header, of type 'run'"),
        (edit(1, schema=99), ":1: schema: 99, but this program reads only up to"),
        (edit(1, schema="2"), ":1: schema: '2' is not a whole number"),
        (edit(1, lines=None), ":1: lines: missing"),
        (edit(1, config={"colect.samples": 3}), "unknown key 'colect.samples'. Did you mean 'collect.samples'?"),
        (edit(1, config={"collect.samples": 0}), "collect.samples = 0 is out of range"),
        (put(2, '{"type": "attempt", "task'), ":2: not JSON"),
        (put(2, "[1]"), ':2: not an object {"type": ...}'),
        (put(2, "[" * 100_000), ":2: not JSON"),
        (edit(2, type="attemt"), ":2: type: 'attemt' is not one of attempt, pair"),
        (edit(2, code=None), ":2: code: missing"),
        (edit(2, cod="x"), ":2: cod: unknown"),
        (edit(2, sample="0"), ":2: sample: '0' is not a whole number of 64 bits"),
        (edit(2, sample=2**63), ":2: sample: 9223372036854775808 is not a whole number of 64 bits"),
        (edit(2, verdict={"outcome": "won"}), ":2: verdict.outcome: 'won' is not one of passed"),
        (edit(2, public={"outcome": "failed", "failures": [{"check": 1}]}), ":2: public.failures[0].check: 1 is not a text"),
        (edit(3, sample=0), ":3: a second line with the same key"),
        (edit(5, kind="other"), ":5: kind: 'other' is not one of repair, bug, direct"),
        (edit(6, loss=float("nan")), ":6: a second line with the same key, or a value that is not a number"),
        (edit(7, done=1), ":7: done: 1 is not true or false"),
    ],
)  # fmt: skip
def test_a_damaged_line_is_named_and_nothing_is_imported(
    exported: Path, tmp_path: Path, damage: Callable[[list[str]], None], problem: str
) -> None:
    lines = exported.read_text().splitlines()
    damage(lines)
    exported.write_text("\n".join(lines))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StoreError) as caught:
        import_run(exported, tmp_path / "copy")
    assert problem in str(caught.value)
    assert str(exported) in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_all_problems_of_a_file_are_listed_at_once(exported: Path, tmp_path: Path) -> None:
    lines = exported.read_text().splitlines()
    edit(2, code=None, sample="x")(lines)
    put(4, "nonsense")(lines)
    exported.write_text("\n".join(lines))
    with pytest.raises(StoreError, match="3 problems, nothing was imported") as caught:
        import_run(exported, tmp_path / "copy")
    assert [line.strip().removeprefix(str(exported)).split(" ")[0] for line in str(caught.value).splitlines()[1:]] == [
        ":2:",
        ":2:",
        ":4:",
    ]


def test_bytes_that_are_no_text_are_named(exported: Path, tmp_path: Path) -> None:
    exported.write_bytes(exported.read_bytes().replace(b"Write it.", b"Write \xff.", 1))
    with pytest.raises(StoreError, match=r":2: not UTF-8 at byte \d+"):
        import_run(exported, tmp_path / "copy")


def test_a_field_that_came_later_takes_its_default(exported: Path, tmp_path: Path) -> None:
    lines = exported.read_text().splitlines()
    edit(1, schema=1)(lines)
    edit(2, tidied=None)(lines)
    exported.write_text("\n".join(lines))
    import_run(exported, tmp_path / "copy")
    assert contents(tmp_path / "copy")["attempt"][0].tidied == ()


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(exported: Path, run: Run, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds a run: nothing was imported"):
        import_run(exported, run.path)
    assert len(run.attempts()) == 3


def test_a_folder_with_other_things_in_it_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not empty"):
        import_run(exported, tmp_path)


def test_an_empty_folder_is_filled(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    import_run(exported, tmp_path / "copy")
    assert len(contents(tmp_path / "copy")["attempt"]) == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere\.jsonl: No such file"):
        import_run(tmp_path / "nowhere.jsonl", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_exported_as_it_was_at_one_moment_while_it_is_written(run: Run) -> None:
    class Adding(io.StringIO):
        def write(self, text: str) -> int:
            run.add_attempt(make_attempt(sample=self.tell()))
            run.flush()
            return super().write(text)

    run.add_attempt(make_attempt(arm="first"))
    run.flush()
    file = Adding()
    counts = export_run(run.path, file)
    assert counts["attempt"] == 1
    assert sum(json.loads(line)["type"] == "attempt" for line in file.getvalue().splitlines()) == 1
