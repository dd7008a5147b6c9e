"""Choose the files of a run, an adapter or an exported folder that go to the hub, and complete the model card among them.

Only files that are named here are uploaded: weights, their settings, a tokenizer, the model card and a license. A run's database,
settings, reports and checkpoints are never uploaded. Paths of this machine are removed from the settings and from the card: of
``/home/me/models/coder``, only ``coder`` is left.
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
"""Matches an absolute path of at least two parts, such as "/home/me", "~/models" or "folder:/home/me/models"."""
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
"""Matches the name of a repository on the hub, such as "owner/name"."""


@dataclass(frozen=True)
class Kind:
    """A kind of upload: an adapter or a model in one of the forms of an export."""

    name: str
    """The name in messages."""
    patterns: tuple[str, ...]
    """Patterns for the names of the files that belong to the upload."""
    library: str
    """The library that loads the files, by its name on the hub."""
    tags: tuple[str, ...]
    """The tags under which the hub lists the repository."""
    relation: str
    """What the upload is to its base model, in the hub's words: "adapter" or "finetune"."""
    use: str
    """How to use the upload, in Markdown. ``{repository}`` and ``{model}`` are filled in."""


ADAPTER = Kind(
    name="adapter",
    patterns=(WEIGHTS, SETTINGS),
    library="mlx",
    tags=("mlx", "lora"),
    relation="adapter",
    use=USE_FROM_HUB,
)
PEFT = Kind(
    name="PEFT adapter",
    patterns=("adapter_model.safetensors", SETTINGS),
    library="peft",
    tags=("peft", "lora"),
    relation="adapter",
    use=(
        "```python\nfrom peft import AutoPeftModelForCausalLM\n\n"
        'model = AutoPeftModelForCausalLM.from_pretrained("{repository}")\n```'
    ),
)
GGUF = Kind(
    name="GGUF model",
    patterns=("*.gguf",),
    library="gguf",
    tags=("gguf",),
    relation="finetune",
    use="```sh\nllama-cli -hf {repository}\n```",
)
MODEL = Kind(
    name="model",
    patterns=(
        *("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"),
        *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "merges.txt", "*.tiktoken", "*.jinja"),
    ),
    library="mlx",
    tags=("mlx",),
    relation="finetune",
    use='```sh\nmlx_lm.generate --model {repository} --prompt "..."\n```',
)
_ALWAYS = (CARD, "LICENSE*")
"""Patterns for the names of the files that belong to an upload of any kind."""
_COMMON_TAGS = ("code", "self-debugging")
"""The tags of an upload of any kind."""
_HINT = "name a run, an adapter or an exported folder"


@dataclass(frozen=True)
class UploadFile:
    """A file to upload."""

    name: str
    """The name in the repository."""
    content: Path | bytes
    """The file on disk, or the content that is uploaded in its place."""

    @property
    def n_bytes(self) -> int:
        """The size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class Contents:
    """The contents of an upload."""

    source: Path
    """The folder that the files are in, or the .gguf file itself."""
    kind: Kind
    files: tuple[UploadFile, ...]
    """The files to upload, by name."""
    left_out: tuple[str, ...]
    """The names of the other files and folders of the source, which are not uploaded."""
    use: str
    """Lines for a shell or for Python that load what is in the repository."""

    @property
    def n_bytes(self) -> int:
        """The size of all files together in bytes."""
        return sum(file.n_bytes for file in self.files)


def contents_of(path: Path, repository: str) -> Contents:
    """Return the files of ``path`` that are uploaded to ``repository`` on the hub, with the model card.

    ``path`` is a run, the folder of an adapter, an exported folder, or a .gguf file. The card of a run is made anew from the
    run's records. For all others, the README.md in the folder is completed. Raises StoreError or ModelError if ``path`` holds
    nothing to upload, and UploadError if one of the files cannot be read.
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
    """Return the files and folders in a folder, by name. Raises StoreError if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror or error}", hint=_HINT) from error


def _kind_of(names: set[str]) -> Kind | None:
    """Return the kind of a folder that holds files of these names, or None if it holds nothing to upload."""
    if WEIGHTS in names:
        return ADAPTER
    if PEFT.patterns[0] in names:
        return PEFT
    if any(name.endswith(".gguf") for name in names):
        return GGUF
    is_model = "config.json" in names and any(fnmatch(name, "model*.safetensors") for name in names)
    return MODEL if is_model else None


def _contents(path: Path, kind: Kind, entries: list[Path], base: str, card: str, repository: str) -> Contents:
    """Return those of ``entries`` that belong to an upload of ``kind``, with ``card`` completed as the model card."""
    chosen = [entry for entry in entries if entry.is_file() and _is_named(entry.name, (*kind.patterns, *_ALWAYS))]
    files = [UploadFile(entry.name, _shareable(entry)) for entry in chosen if entry.name != CARD]
    files.append(UploadFile(CARD, _completed(card, kind, base, repository, path).encode()))
    left_out = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries if entry not in chosen]
    without_fences = re.sub(r"^```.*\n|\n```$", "", _filled(kind.use, repository, base))
    return Contents(
        source=path,
        kind=kind,
        files=tuple(sorted(files, key=lambda file: file.name)),
        left_out=tuple(left_out),
        use=without_fences,
    )


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
    """Return the text ``use`` of a kind for one repository and one base model."""
    return use.format(repository=repository, model=base or "MODEL")


def _completed(text: str, kind: Kind, base: str, repository: str, source: Path) -> str:
    """Return a model card whose front matter has everything that the hub asks for, as far as it is known.

    ``text`` is the card so far. What it says is kept, except for the paths of folders on this machine. Raises UploadError if its
    front matter cannot be read.
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
    # The front matter may name one base model or a list of them, and each name may be a folder of this machine.
    named = data.base_model if isinstance(data.base_model, list) else [data.base_model or ""]
    data.base_model = next((name for name in named if _REPOSITORY.fullmatch(str(name))), base) or None
    if data.base_model:
        data["base_model_relation"] = kind.relation
        data.license = data.license or license_of(data.base_model) or None
    data.library_name = data.library_name or kind.library
    data.pipeline_tag = data.pipeline_tag or "text-generation"
    data.tags = list(dict.fromkeys([*(data.tags or []), *kind.tags, *_COMMON_TAGS]))
    bases = [Path(name).parent for name in named if str(name).startswith("/")]
    return _without_folders(str(card), [*bases, source.resolve(), source.resolve().parent, Path.home()])


def _without_folders(text: str, folders: list[Path]) -> str:
    """Return ``text`` without the paths of ``folders``: of a path in one of them, only the part after the folder is left."""
    # Longer paths come first, so that a folder inside another one of these is removed as a whole.
    for folder in sorted({str(folder) for folder in folders if len(folder.parts) > 1}, key=len, reverse=True):
        text = text.replace(f"{folder}/", "")
    return text


def _shareable(file: Path) -> Path | bytes:
    """Return the file itself or, if it is JSON that holds paths of this machine, its content without them."""
    if file.name not in _WITH_PATHS:
        return file
    content = _json(file)
    shared = _without_paths(content)
    return file if shared == content else (json.dumps(shared, indent=2, ensure_ascii=False) + "\n").encode()


def _without_paths(value: Any) -> Any:
    """Return a JSON value in which only the last part of every absolute path is left.

    A text may be JSON itself, as in the record that we keep in PEFT's settings. Paths in it are shortened, too.
    """
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
    """Return whether an entry names a folder of this machine as the origin of the base model.

    Such an entry is dropped, since no model on another machine has that origin.
    """
    return key == "base_origin" and str(value).startswith("folder:")


def _json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises UploadError if there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UploadError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UploadError(f"{file} is not a JSON object")
    return content


def _text(file: Path) -> str:
    """Return the text of a file, or "" if it does not exist. Raises UploadError if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8") if file.is_file() else ""
    except (OSError, ValueError) as error:
        raise UploadError(f"{file} cannot be read: {error}") from error
