"""Make the adapters in this folder with PEFT, and the logits that torch computes with them: python -m tests.models.peft.make

They need torch, transformers and peft, which the tests that read them do not.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

from mlx_selfdebug.testing import write_tiny_model

from ...support.with_peft import make_adapter

KINDS: dict[str, dict[str, Any]] = {
    "lora": {"lora_alpha": 6},
    "dora": {"use_dora": True, "lora_alpha": 2},
    "patterns": {
        "use_rslora": True,
        "rank_pattern": {"v_proj": 3},
        "alpha_pattern": {"layers.1.self_attn.q_proj": 16},
        "layers_to_transform": [1],
    },
}


def main() -> None:
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        base = write_tiny_model(Path(folder) / "tiny")
        for name, settings in KINDS.items():
            logits = make_adapter(base, here / name, **settings)
            name_base(here / name / "adapter_config.json")
            mx.save_safetensors(str(here / name / "logits.safetensors"), {"logits": mx.array(logits)})
            (here / name / "README.md").unlink(missing_ok=True)


def name_base(file: Path) -> None:
    """Replace the temporary folder that PEFT took the base model from by a plain name."""
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "base_model_name_or_path": "tiny"}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
