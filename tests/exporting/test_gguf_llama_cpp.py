"""What llama.cpp makes of an exported file: pip install xllamacpp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_selfdebug.testing import write_tiny_model

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("dtype", ["f16", "q8_0"])
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_llama_cpp_decodes_the_same_as_our_importer(architecture: str, dtype: str, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny", architecture=architecture, seed=3)
    command = [sys.executable, str(ROOT / "benchmarks/exports_gguf.py"), "--model", str(model), "--dtype", dtype]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [*command, "--prompts", "4", "--tokens", "24"], capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert (record["same_texts"], record["same_chats"], record["same_chat_ids"]) == (4, 4, 4)
    assert record["equal_tensors"] == record["tensors"]
    assert record["same_ids"]
