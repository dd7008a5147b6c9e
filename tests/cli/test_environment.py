from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_an_option_wins_over_the_environment_in_the_stages_of_a_run_too(tiny_folder: Path, tmp_path: Path) -> None:
    options = ["--run", str(tmp_path / "run"), "--model", str(tiny_folder), "--preset", "demo", "--collect-limit", "1"]
    options += ["--collect-samples", "2", "--collect-max-tokens", "4", "--train-targets", "own", "--quiet"]
    environment = {**os.environ, "MLX_SELFDEBUG_COLLECT_SAMPLES": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "mlx_selfdebug", "run", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "the run has" not in ended.stderr
    assert "has no pairs" in ended.stderr  # of two drafts of a model of random weights
