"""What a run's stages will take, before any weights are loaded: bytes against the budget, and about how many seconds."""

from __future__ import annotations

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.models.load import Model, load_thin, loaded_bytes
from mlx_selfdebug.training.plan import Planner, processes_bytes
from mlx_selfdebug.training.probe import fewest_layers, layer_count


def training_planner(model: Model, config: TrainConfig) -> Planner:
    """For a model whose weights are unread: its probes load a few layers."""
    fixed = processes_bytes() + loaded_bytes(model)
    thin = load_thin(model, min(layer_count(model.config), 2 * fewest_layers(model.config)))
    return Planner(thin, model.config, config, fixed)
