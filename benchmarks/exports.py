"""Show that an exported adapter computes the same everywhere: in plain mlx-lm, merged into its model, and in PEFT on torch.

    python benchmarks/exports.py [--model qwen2.5-coder-0.5b] [--parts fused 8bit peft] [--prompts 20] [--tokens 48]

The adapter has random weights of the size that training leaves, so that it changes what the model writes. What needs packages that
are not installed (torch, peft) is named and left out. GGUF files are the matter of exports_gguf.py.

Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx

import mlx_lm
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.utils import save_config, save_model

import mlx_selfdebug as sd
from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.models.load import Model, load_dense, load_model, open_model
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.adapter import Adapter, insert_adapter, remove_adapter, save_adapter

PARTS = ("fused", "8bit", "peft")
B_SIZE = 0.01
"""The standard deviation of the matrices B, which are zero at the beginning of training."""
LOGIT_PROMPTS = 4
"""The number of prompts whose logits are compared with those of torch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=48, help="tokens that are written after each prompt")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = Trial(options.model, options.prompts, options.tokens, Path(folder)).run(options.parts)
    versions = {name: _version(name) for name in ("mlx", "mlx-lm", "transformers", "peft", "torch")}
    machine = {"machine": platform.machine(), "system": platform.system(), "device": device_name()}
    print(json.dumps({"benchmark": "exports", "model": options.model, **machine, "versions": versions, **record}))


class Trial:
    """One adapter of one model, exported in every form and compared with itself."""

    def __init__(self, name: str, n_prompts: int, n_tokens: int, folder: Path) -> None:
        self.name, self.n_tokens, self.folder = name, n_tokens, folder
        self.prompts = _prompts(open_model(name), n_prompts)
        self.record: dict[str, Any] = {"prompts": n_prompts, "tokens": n_tokens}

    def run(self, parts: Sequence[str]) -> dict[str, Any]:
        self._compute_here(writes_texts="fused" in parts)
        for part, show in zip(PARTS, (self._fused, self._fused_to_8_bits, self._peft), strict=True):
            if part in parts:
                with _freed():
                    show()
        return self.record

    def _say(self, what: str, figures: dict[str, Any]) -> None:
        self.record[what] = figures
        for key, value in figures.items():
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            print(f"{what:<24}  {key:<40}  {text}", flush=True)

    def _compute_here(self, *, writes_texts: bool) -> None:
        """Make the adapter, have it read some prompts and, if that is wanted, have base and adapter write their texts."""
        model = load_model(self.name)
        self.adapter = random_adapter(model, self.folder / "adapter")
        self.base_logits = [_logits(model.network, prompt) for prompt in self.prompts[:LOGIT_PROMPTS]]
        with self.adapter.applied(model):
            self.logits = [_logits(model.network, prompt) for prompt in self.prompts[:LOGIT_PROMPTS]]
            self.texts = self._texts(model.network, model.tokenizer) if writes_texts else []
        if writes_texts:
            base = self._texts(model.network, model.tokenizer)
            self._say("adapter", {"texts that it changes": f"{len(base) - self._same(base)} of {len(base)}"})

    def _texts(self, network: Any, tokenizer: Any) -> list[str]:
        return list(mlx_lm.batch_generate(network, tokenizer, self.prompts, max_tokens=self.n_tokens).texts)

    def _fused(self) -> None:
        exported = sd.export(self.adapter.path, to="fused", output=self.folder / "fused", model=self.name)
        network, tokenizer = mlx_lm.load(str(exported.path))
        same = self._same(self._texts(network, tokenizer))
        figures = {
            "loaded by mlx_lm.load": True,
            "dtype": exported.dtype,
            "bytes": exported.n_bytes,
            "equal greedy texts": f"{same} of {len(self.texts)}",
            "largest difference of a logit": self._distance(network),
        }
        self._say("fused, dense", figures)

    def _distance(self, network: Any) -> float:
        pairs = zip(self.prompts, self.logits, strict=False)
        return max(float(np.abs(_logits(network, prompt) - logits).max()) for prompt, logits in pairs)

    def _fused_to_8_bits(self) -> None:
        output = self.folder / "fused-8"
        exported = sd.export(self.adapter.path, to="fused", bits=8, output=output, model=self.name)
        network, _ = mlx_lm.load(str(exported.path))
        assert exported.difference
        figures = {
            "loaded by mlx_lm.load": bool(network.layers),
            "bytes": exported.n_bytes,
            "mean difference of a logit": exported.difference.mean_difference,
            "largest difference of a logit": exported.difference.max_difference,
            "tokens with the same likeliest token": exported.difference.same_share,
        }
        self._say("fused, 8 bits", figures)

    def _peft(self) -> None:
        exported = sd.export(self.adapter.path, to="peft", output=self.folder / "peft", model=self.name)
        self._say("PEFT", {"the same bytes back": self._comes_back(exported.path, "back")})
        if missing := [name for name in ("torch", "peft") if find_spec(name) is None]:
            print(f"PEFT: not installed: pip install {' '.join(missing)}")
            return
        self._peft_on_torch(exported.path)

    def _comes_back(self, folder: Path, name: str) -> bool:
        """Return whether an adapter in PEFT's format becomes the two files of the adapter again, byte by byte."""
        files = sd.export(folder, to="mlx", output=self.folder / name, model=self.name).path
        return all(
            (files / name).read_bytes() == (self.adapter.path / name).read_bytes()
            for name in ("adapters.safetensors", "adapter_config.json")
        )

    def _peft_on_torch(self, adapter: Path) -> None:
        import torch
        from peft import LoraConfig, PeftModel, get_peft_model
        from transformers import AutoModelForCausalLM

        base = write_dense(open_model(self.name), self.folder / "dense")
        network = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter)
        )
        theirs = self._torch_logits(network.eval())
        figures = {
            "largest difference of a logit": _largest_difference(theirs, self.logits),
            "largest logit": max(float(np.abs(logits).max()) for logits in self.logits),
        }
        with network.disable_adapter():
            # What MLX and torch round differently, without any adapter.
            figures["largest difference of the base alone"] = self._torch_distance(network, self.base_logits)
        # In float64, torch rounds next to nothing, so this is what each side rounds in float32.
        exact = self._torch_logits(network.double())
        figures["ours from torch in float64"] = _largest_difference(exact, self.logits)
        figures["torch in float32 from float64"] = _largest_difference(exact, theirs)
        network.float()
        self._say("PEFT on torch", figures)
        network.save_pretrained(str(self.folder / "saved"))
        self._say("PEFT saved it anew", {"the same bytes back": self._comes_back(self.folder / "saved", "back-again")})
        torch.manual_seed(0)
        config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
        network = get_peft_model(network.unload(), config).eval()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=B_SIZE)
        network.save_pretrained(str(self.folder / "made-by-peft"))
        model = load_model(self.name)
        with sd.open_adapter(self.folder / "made-by-peft").applied(model):
            logits = [_logits(model.network, prompt) for prompt in self.prompts[:LOGIT_PROMPTS]]
        self._say("made by PEFT, read here", {"largest difference of a logit": self._torch_distance(network, logits)})

    def _torch_logits(self, network: Any) -> list[np.ndarray]:
        import torch

        with torch.no_grad():
            return [network(torch.tensor([prompt])).logits[0].numpy() for prompt in self.prompts[:LOGIT_PROMPTS]]

    def _torch_distance(self, network: Any, logits: list[np.ndarray]) -> float:
        return _largest_difference(self._torch_logits(network), logits)

    def _same(self, texts: list[str]) -> int:
        return sum(text == ours for text, ours in zip(texts, self.texts, strict=True))


def random_adapter(model: Model, folder: Path) -> Adapter:
    """Write an adapter of all layers with random weights to ``folder``, as training writes one."""
    settings = insert_adapter(model.network, replace(TrainConfig(), rank=8, scale=2.0), seed=0)
    drawn = [
        (name, mx.random.normal(array.shape) * B_SIZE if name.endswith("lora_b") else array)
        for name, array in tree_flatten(model.network.trainable_parameters())
    ]
    model.network.load_weights(drawn, strict=False)
    adapter = save_adapter(model.network, folder, settings, model.origin)
    remove_adapter(model.network)
    return adapter


def write_dense(model: Model, folder: Path) -> Path:
    """Write the base with dense float32 weights, whose names are those of transformers."""
    save_model(folder, load_dense(model), donate_model=True)
    config = {key: value for key, value in model.config.items() if key not in ("quantization", "quantization_config")}
    save_config({**config, "torch_dtype": "float32"}, folder / "config.json")
    return folder


def _prompts(model: Model, n: int) -> list[list[int]]:
    prompts = []
    for task in load_tasks("starter").spread(n):
        domain = domain_of(task.domain)
        message = {"role": "user", "content": domain.prompt(task)}
        prompts.append(model.render([message], reply_prefix=domain.reply_prefix))
    return prompts


def _largest_difference(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True))


def _logits(network: Any, prompt: list[int]) -> np.ndarray:
    return np.array(network(mx.array([prompt]))[0].astype(mx.float32))


@contextmanager
def _freed() -> Iterator[None]:
    """Give back the memory of the models that are not used any more before the block, which loads others, and after it."""
    gc.collect()
    mx.clear_cache()
    yield
    gc.collect()
    mx.clear_cache()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
