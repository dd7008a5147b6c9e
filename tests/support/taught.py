"""Adapters that were really trained, in seconds, on a tiny model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx, nn, optim

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.sampling.decoder import open_batch_decoder
from mlx_selfdebug.sampling.language_model import complete
from mlx_selfdebug.sampling.request import Request
from mlx_selfdebug.training.adapter import Adapter, insert_adapter, remove_adapter, save_adapter


def teach_adapter(model: Any, folder: Path, lessons: Mapping[str, str], *, steps: int = 80) -> Adapter:
    """Train an adapter to answer each message with its text, and save it. ``model`` is the base again afterwards."""
    rows = [(chat(model, said), [*model.encode(text), model.tokenizer.eos_token_id]) for said, text in lessons.items()]
    length = max(len(prompt) + len(reply) for prompt, reply in rows)
    ids = mx.array([[*prompt, *reply] + [0] * (length - len(prompt) - len(reply)) for prompt, reply in rows])
    places = mx.arange(1, length)
    mask = mx.stack([(places >= len(prompt)) & (places < len(prompt) + len(reply)) for prompt, reply in rows])

    def loss(network: Any) -> Any:
        losses = nn.losses.cross_entropy(network(ids[:, :-1]), ids[:, 1:])
        return (losses * mask).sum() / mask.sum()

    network = model.network
    settings = insert_adapter(network, TrainConfig(rank=16), seed=0)
    optimizer, step = optim.Adam(learning_rate=1e-3), nn.value_and_grad(network, loss)
    for _ in range(steps):
        _, gradient = step(network)
        optimizer.update(network, gradient)
        mx.eval(network.parameters(), optimizer.state)
    adapter = save_adapter(network, folder, settings, model.origin)
    remove_adapter(network)
    return adapter


def greedy_texts(model: Any, messages: Sequence[str], max_tokens: int) -> list[str]:
    """What our own decoder answers to each message, greedily."""
    decoder = open_batch_decoder(model, budget_bytes=10**9, max_rows=len(messages), max_row_tokens=1024)
    requests = [Request(tuple(chat(model, said)), max_tokens) for said in messages]
    texts = {completion.ticket: completion.text for completion in complete(decoder, requests)}
    return [texts[i] for i in range(len(messages))]


def chat(model: Any, said: str) -> list[int]:
    return model.render([{"role": "user", "content": said}])
