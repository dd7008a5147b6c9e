"""Say what of a run, of an adapter or of an exported folder goes to the hub, and make the model card that goes with it.

Only files that are named here are uploaded: weights, their settings, a tokenizer, the model card and a license. A run's database,
settings, reports and checkpoints never are. In the settings and in the card, folders of this machine are left out.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import ModelCard

from mlx_selfdebug.errors import StoreError, UploadError
from mlx_selfdebug.exporting.run_adapter import open_run_adapter
from mlx_selfdebug.models.adapters import SETTINGS, WEIGHTS
from mlx_selfdebug.models.catalog import hub_repository, license_of
from mlx_selfdebug.reporting.model_card import FILE as CARD
from mlx_selfdebug.reporting.model_card import USE_FROM_HUB, model_card
from mlx_selfdebug.store import open_stored
from mlx_selfdebug.training.adapter import open_adapter

_WITH_PATHS = (SETTINGS, "config.json", "generation_config.json", "tokenizer_config.json")
"""The JSON files in which programs leave paths of the machine that they ran on."""
_PATH = re.compile(r"(?:folder:)?(?:~|/[^/\n]+)/[^\n]*")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Kind:
    """A kind of thing that is uploaded."""

    name: str
    """What it is called in messages."""
    patterns: tuple[str, ...]
    """Patterns of the names of the files that belong to it."""
    library: str
    """The library that loads it, as the hub names it."""
    tags: tuple[str, ...]
    """The tags under which the hub lists it."""
    relation: str
    """What it is to its base model, as the hub names it."""
    use: str
    """How it is used, in Markdown, with ``{repository}`` and ``{model}`` to fill in."""


ADAPTER = Kind("adapter", (WEIGHTS, SETTINGS), "mlx", ("mlx", "lora"), "adapter", USE_FROM_HUB)
PEFT = Kind(
    "PEFT adapter",
    ("adapter_model.safetensors", SETTINGS),
    "peft",
    ("peft", "lora"),
    "adapter",
    '```python\nfrom peft import AutoPeftModelForCausalLM\n\nmodel = AutoPeftModelForCausalLM.from_pretrained("{repository}")\n```',
)
GGUF = Kind("GGUF model", ("*.gguf",), "gguf", ("gguf",), "finetune", "```sh\nllama-cli -hf {repository}\n```")
MODEL = Kind(
    "model",
    (
        *("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"),
        *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "merges.txt", "*.tiktoken", "*.jinja"),
    ),
    "mlx",
    ("mlx",),
    "finetune",
    '```sh\nmlx_lm.generate --model {repository} --prompt "..."\n```',
)
_HINT = "name a run, an adapter or an exported folder"
_ALWAYS = (CARD, "LICENSE*")
_COMMON_TAGS = ("code", "self-debugging")


@dataclass(frozen=True)
class UploadFile:
    """A file to upload."""

    name: str
    """Its name in the repository."""
    content: Path | bytes
    """The file on disk, or what is uploaded in its place."""

    @property
    def n_bytes(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class Contents:
    """What is uploaded to a repository."""

    source: Path
    """The folder that the files are in, or the file itself."""
    kind: Kind
    """What it is."""
    files: tuple[UploadFile, ...]
    """The files to upload, by name."""
    left_out: tuple[str, ...]
    """The names of the other files and folders of the source, which are not uploaded."""
    use: str
    """How someone uses what is in the repository: lines for a shell or for Python."""

    @property
    def n_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.n_bytes for file in self.files)


def contents_of(path: Path, repository: str) -> Contents:
    """Return what is uploaded of ``path`` to ``repository`` on the hub.

    ``path`` is a run, the folder of an adapter, an exported folder, or a .gguf file. The card of a run is made anew from its
    records; elsewhere the README.md that is there is completed. Raises StoreError or ModelError if there is nothing to upload in
    ``path``, and UploadError if a file of it cannot be read.
    """
    if path.is_file() and path.suffix == ".gguf":
        return _contents(path, GGUF, [path], "", "", repository)
    run = path.parent if path.name == "adapter" and not (path / "run.db").exists() else path
    if (run / "run.db").exists():
        opened = open_run_adapter(run)
        base = hub_repository(opened.model_name, opened.adapter.base)
        with open_stored(run) as stored:
            card = model_card(stored, repository)
        return _contents(opened.adapter.path, ADAPTER, _entries(opened.adapter.path), base, card, repository)
    entries = _entries(path)
    kind = _kind_of({entry.name for entry in entries})
    if kind is None:
        raise StoreError(f"{path} holds neither a run nor an adapter nor a model", hint=_HINT)
    return _contents(path, kind, entries, _base_of(path, kind), _text(path / CARD), repository)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror or error}", hint=_HINT) from error


def _kind_of(names: set[str]) -> Kind | None:
    if WEIGHTS in names:
        return ADAPTER
    if PEFT.patterns[0] in names:
        return PEFT
    if any(name.endswith(".gguf") for name in names):
        return GGUF
    is_model = "config.json" in names and any(fnmatch(name, "model*.safetensors") for name in names)
    return MODEL if is_model else None


def _contents(path: Path, kind: Kind, entries: list[Path], base: str, card: str, repository: str) -> Contents:
    belonging = [entry for entry in entries if entry.is_file() and _is_named(entry.name, (*kind.patterns, *_ALWAYS))]
    text = _completed(card, kind, base, repository, path)
    files = [UploadFile(entry.name, _shareable(entry)) for entry in belonging if entry.name != CARD]
    files.append(UploadFile(CARD, text.encode()))
    left_out = [entry.name + "/" * entry.is_dir() for entry in entries if entry not in belonging]
    use = _filled(kind.use, repository, base)
    code = re.sub(r"^```.*\n|\n```$", "", use)
    return Contents(path, kind, tuple(sorted(files, key=lambda file: file.name)), tuple(left_out), code)


def _is_named(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _base_of(folder: Path, kind: Kind) -> str:
    """Return the base model's repository on the hub if the settings of an adapter name it, or ""."""
    if kind is ADAPTER:
        return hub_repository("", open_adapter(folder).base)
    if kind is not PEFT or not (folder / SETTINGS).is_file():
        return ""
    name = str(_json(folder / SETTINGS).get("base_model_name_or_path") or "")
    return name if _REPOSITORY.fullmatch(name) and not Path(name).exists() else ""


def _filled(use: str, repository: str, base: str) -> str:
    return use.format(repository=repository, model=base or "MODEL")


def _completed(text: str, kind: Kind, base: str, repository: str, source: Path) -> str:
    """Return a model card with everything in its front matter that the hub asks for and that is known.

    What the card says already is kept, except for folders of this machine.
    """
    if not text:
        title = repository.rpartition("/")[2]
        text = f"# {title}\n\nMade with mlx-selfdebug.\n\n## Use\n\n{_filled(kind.use, repository, base)}\n"
    try:
        card = ModelCard(
            text if text.lstrip().startswith("---") else f"---\n\n---\n\n{text}", ignore_metadata_errors=True
        )
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UploadError(f"the front matter of {source / CARD} cannot be read: {reason}") from error
    data: Any = card.data
    named = data.base_model if isinstance(data.base_model, list) else [data.base_model or ""]
    data.base_model = next((name for name in named if _REPOSITORY.fullmatch(str(name))), base) or None
    if data.base_model:
        data["base_model_relation"] = kind.relation
        data.license = data.license or license_of(data.base_model) or None
    data.library_name = data.library_name or kind.library
    data.pipeline_tag = data.pipeline_tag or "text-generation"
    data.tags = list(dict.fromkeys([*(data.tags or []), *kind.tags, *_COMMON_TAGS]))
    bases = [Path(name).parent for name in named if str(name).startswith("/")]
    return _without_places(str(card), [*bases, source.resolve(), source.resolve().parent, Path.home()])


def _without_places(text: str, places: list[Path]) -> str:
    """Return ``text`` without these folders, wherever it names something in them."""
    for place in sorted({str(place) for place in places if len(place.parts) > 1}, key=len, reverse=True):
        text = text.replace(f"{place}/", "")
    return text


def _shareable(file: Path) -> Path | bytes:
    """Return the file, or its content without paths if it is JSON that holds some."""
    if file.name not in _WITH_PATHS:
        return file
    content = _json(file)
    shared = _without_paths(content)
    return file if shared == content else (json.dumps(shared, indent=2, ensure_ascii=False) + "\n").encode()


def _without_paths(value: Any) -> Any:
    """Return a JSON value in which the last part alone is left of every absolute path, also where a text is JSON itself."""
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items() if not _is_local_origin(key, item)}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith("{"):
        with suppress(ValueError):
            content = json.loads(value)
            shared = _without_paths(content)
            return value if shared == content else json.dumps(shared, indent=2) + "\n"
    return PurePath(value).name if _PATH.fullmatch(value) else value


def _is_local_origin(key: str, value: Any) -> bool:
    """Return whether an entry says that the base model is a folder of this machine. On another machine no model would match it."""
    return key == "base_origin" and str(value).startswith("folder:")


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UploadError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UploadError(f"{file} is not a JSON object")
    return content


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8") if file.is_file() else ""
    except (OSError, ValueError) as error:
        raise UploadError(f"{file} cannot be read: {error}") from error
