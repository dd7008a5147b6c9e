"""The card says what the run found, in front matter the hub reads."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard

from mlx_selfdebug.evaluation.result import read_result
from mlx_selfdebug.models.catalog import ALIASES, hub_repository
from mlx_selfdebug.reporting.model_card import model_card, write_model_card
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import make_attempt

from ..support.runs import make_run
from ..support.values import small_config


def test_the_front_matter_is_read_by_the_hubs_own_code_and_has_the_results_figures(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", tasks=12, pairs=6) as run:
        card, result = ModelCard(model_card(run)), read_result(run)
    assert result
    assert card.data.base_model == "mlx-community/Qwen2.5-Coder-0.5B-Instruct-4bit"
    assert card.data.library_name == "mlx"
    assert {"mlx", "lora"} <= set(card.data.tags)
    found = {one.metric_name: one.metric_value for one in card.data.eval_results}
    solved, total = result.adapter.arms["facts"].problems
    assert found["problems solved, then facts, 400 tokens per task"] == round(solved / total, 4)
    assert {name.partition(",")[0] for name in found} == {"problems solved", "bugs repaired"}
    assert len(found) == 7 + 6


def test_the_text_has_every_arm_the_verdict_and_the_gate(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", tasks=12, pairs=6) as run:
        text, result = model_card(run), read_result(run)
    assert result
    assert result.bugs
    assert all(finding in text for finding in result.findings)
    assert f"Results on {result.bugs.n} bugs (operators), which are the same for every model:" in text
    assert str(result.gate) in text
    for arm in ("first draft", "then blind", "then other-facts"):
        assert f"| {arm} |" in text
    assert "6 pairs (2 repair, 0 bug, 2 direct, 2 keep)" in text


def test_an_adapter_that_was_not_evaluated_says_so(run: Run) -> None:
    run.add_attempt(make_attempt())
    run.adapter_path.mkdir()
    write_model_card(run)
    text = (run.adapter_path / "README.md").read_text(encoding="utf-8")
    assert "The adapter was not evaluated." in text
    assert ModelCard(text).data.eval_results is None


def test_the_card_names_the_base_its_license_and_how_the_adapter_is_got_from_the_hub(tmp_path: Path) -> None:
    with make_run(tmp_path / "run", tasks=2, pairs=2) as run:
        here, on_hub = model_card(run), model_card(run, "me/coder")
    card = ModelCard(on_hub)
    assert (card.data.license, card.data.get("base_model_relation")) == ("apache-2.0", "adapter")
    assert "--adapter-path . --prompt" in here
    assert "hf download me/coder --local-dir adapter" in on_hub


def test_a_card_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    (place := tmp_path / "someone" / "coder").mkdir(parents=True)
    config = small_config(model=str(place), collect__tasks=f"functions:{place}", eval__tasks=str(place / "tasks.jsonl"))
    with Run(tmp_path / "run", config) as run:
        run.remember("model", f"folder:{place}")
        text = model_card(run)
    assert str(tmp_path) not in text
    assert ModelCard(text).data.base_model is None
    assert "`functions:coder`" in text
    assert "Base weights: `folder:coder`" in text


def test_weights_of_a_file_are_known_as_the_model_that_they_are() -> None:
    alias = ALIASES["qwen2.5-coder-0.5b"]
    assert alias.gguf
    assert hub_repository("coder.gguf", f"gguf:{alias.gguf.sha256[:12]}") == alias.hub
    assert hub_repository("x", "hub:someone/base@0123456789ab") == "someone/base"
    assert hub_repository("x", "gguf:000000000000") == hub_repository("x", "folder:/x") == hub_repository("x", "") == ""
