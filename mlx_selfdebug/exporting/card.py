"""Write the model card of an export.

It is the card of the run's adapter with another title, another base model and library, and another section "Use". Which these are
depends on the form of the export (:class:`CardForm`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from mlx_selfdebug.exporting.run_adapter import RunAdapter
from mlx_selfdebug.reporting.model_card import FILE, model_card
from mlx_selfdebug.store import open_stored

_PEFT = """```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), ".")
```"""
_FUSED = '```sh\nmlx_lm.generate --model . --prompt "..."\n```'
_MLX_LM = '```sh\nmlx_lm.generate --model {base} --adapter-path . --prompt "..."\n```'
_TAG = "self-debugging"
"""The tag in the front matter by which our own cards are recognized."""
_TITLE = re.compile(r"\A# .*?: (.*)")
"""Matches the title of a run's card, such as "# Qwen2.5-Coder-0.5B-Instruct: LORA adapter that repairs its own code"."""


@dataclass(frozen=True)
class CardForm:
    """The parts of a card that depend on the form of the export."""

    what: str
    """What the folder holds, in a few words that end the title."""
    library: str
    """The library that loads the export, by its name on the hub."""
    use: str
    """How to use the export, in Markdown."""
    base: str
    """The name under which this library loads the base model."""
    relation: str = "adapter"
    """What the export is to its base model, in the hub's words: "adapter" or "finetune"."""


def mlx_lm_form(base: str) -> CardForm:
    """Return the form of an adapter in mlx-lm's format."""
    return CardForm(what="adapter", library="mlx", use=_MLX_LM.format(base=base), base=base)


def peft_form(base: str) -> CardForm:
    """Return the form of an adapter in PEFT's format. ``base`` is the name under which transformers loads the base model."""
    return CardForm(what="adapter in PEFT's format", library="peft", use=_PEFT.format(base=base), base=base)


def fused_form(base: str, weights: str) -> CardForm:
    """Return the form of a model with an adapter merged into it. ``weights`` describes the weights, such as "8-bit weights"."""
    what = f"model with an adapter merged into it, {weights}"
    return CardForm(what, library="mlx", use=_FUSED, base=base, relation="finetune")


def export_card(source: RunAdapter, form: CardForm) -> str:
    """Return the card as Markdown. If ``source`` has no card of ours, it only says what the folder holds and how to use it."""
    card = ModelCard(_card_of(source) or _new_card(form))
    data: Any = card.data
    data.base_model = form.base
    data.library_name = form.library
    data.tags = [form.library, *(tag for tag in data.tags or [] if tag not in ("mlx", form.library))]
    about = card.text.partition("\n## Use\n")[0].strip()
    title = f"# {form.base.rstrip('/').rpartition('/')[2]}: {form.what}"
    # The title of a run's card says how the adapter was trained. That becomes a sentence below the new title.
    about = _TITLE.sub(lambda match: f"{title}\n\n{match[1]}.", about)
    if not about.startswith("# "):
        about = f"{title}\n\n{about}"
    card.text = f"\n{about}\n\n## Use\n\n{form.use}\n"
    return str(card)


def _card_of(source: RunAdapter) -> str:
    """Return the card of the adapter, or "" if it has none of ours.

    The card of a run's adapter is made from the records of the run. Any other adapter may have one in its folder.
    """
    if source.is_of_run:
        with open_stored(source.run) as run:
            return model_card(run)
    file = source.adapter.path / FILE
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return text if _TAG in text.partition("\n---")[0] else ""


def _new_card(form: CardForm) -> str:
    """Return a card that names only the base model."""
    data = ModelCardData(pipeline_tag="text-generation", tags=["code"], base_model=form.base)
    return f"---\n{str(data.to_yaml()).strip()}\n---\n\nBase model: `{form.base}`.\n"
