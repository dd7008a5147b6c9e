"""What PEFT and transformers do with an adapter and a model, on torch and the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .adapters import IDS


def load_base(folder: Path) -> Any:
    """The model in ``folder`` as transformers loads it, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def load_with(base: Path, adapter: Path) -> Any:
    """The model in ``base`` with an adapter around it."""
    from peft import PeftModel

    return PeftModel.from_pretrained(load_base(base), str(adapter)).eval()


def torch_logits(network: Any) -> np.ndarray:
    import torch

    with torch.no_grad():
        return np.array(network(torch.tensor(IDS)).logits.float().numpy())


def make_adapter(base: Path, folder: Path, **settings: Any) -> np.ndarray:
    """Make an adapter of the model in ``base`` with PEFT alone, save it to ``folder`` as PEFT does, and return its logits."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", **{"target_modules": ["q_proj", "v_proj"], "r": 2, **settings})
    network = get_peft_model(load_base(base), config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
            elif "magnitude" in name:
                parameter.mul_(torch.empty_like(parameter).uniform_(0.8, 1.2))
    network.save_pretrained(str(folder))
    return torch_logits(network)
