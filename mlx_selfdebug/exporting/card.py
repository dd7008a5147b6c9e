"""Write the model card of an export: that of the run's adapter, with what the form of the export changes in it."""

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
"""The tag by which a card is known to be one of ours."""


@dataclass(frozen=True)
class CardForm:
    """What of a card depends on the form of the export."""

    what: str
    """What the folder holds, in a few words that end the title."""
    library: str
    """The library that loads it, by the hub's name."""
    use: str
    """How it is used, as Markdown."""
    base: str
    """The name of the base model for this library."""
    relation: str = "adapter"
    """What it is to its base model, by the hub's name."""


def mlx_lm_form(base: str) -> CardForm:
    """Return the form of an adapter in mlx-lm's format."""
    return CardForm("adapter", "mlx", _MLX_LM.format(base=base), base)


def peft_form(base: str) -> CardForm:
    """Return the form of an adapter in PEFT's format whose base model transformers calls ``base``."""
    return CardForm("adapter in PEFT's format", "peft", _PEFT.format(base=base), base)


def fused_form(base: str, weights: str) -> CardForm:
    """Return the form of a model with an adapter merged into it. ``weights`` says how they are stored, such as "8-bit weights"."""
    return CardForm(f"model with an adapter merged into it, {weights}", "mlx", _FUSED, base, "finetune")


def export_card(source: RunAdapter, form: CardForm) -> str:
    """Return the card as Markdown. Where there is no card to begin with, it only says what the folder is and how it is used."""
    card = ModelCard(_card_of(source) or _new_card(form))
    data: Any = card.data
    data.base_model = form.base
    data.library_name = form.library
    data.tags = [form.library, *(tag for tag in data.tags or [] if tag not in ("mlx", form.library))]
    about = card.text.partition("\n## Use\n")[0].strip()
    title = f"# {form.base.rstrip('/').rpartition('/')[2]}: {form.what}"
    # The title of a run's card says how the adapter was trained, so it stays as a sentence.
    about = re.sub(r"\A# .*?: (.*)", rf"{title}\n\n\1.", about) if about.startswith("# ") else f"{title}\n\n{about}"
    card.text = f"\n{about}\n\n## Use\n\n{form.use}\n"
    return str(card)


def _card_of(source: RunAdapter) -> str:
    """Return the card of the adapter: made of the records of its run, or its own if it is one of ours, or ""."""
    if source.is_of_run:
        with open_stored(source.run) as run:
            return model_card(run)
    file = source.adapter.path / FILE
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    return text if _TAG in text.partition("\n---")[0] else ""


def _new_card(form: CardForm) -> str:
    data = ModelCardData(pipeline_tag="text-generation", tags=["code"], base_model=form.base)
    return f"---\n{str(data.to_yaml()).strip()}\n---\n\nBase model: `{form.base}`.\n"
