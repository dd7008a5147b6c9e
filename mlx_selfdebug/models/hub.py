"""Find models in the Hugging Face hub's local cache or download them, and give up quickly where there is no network.

Only data is fetched: safetensors, JSON, text and templates, but no Python files and no pickles. Weights are compared
with the SHA-256 that the hub states for them.
"""

from __future__ import annotations

import json
import logging
import threading
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_selfdebug.errors import DownloadError, FormatError, ModelError
from mlx_selfdebug.models.checksum import sha256_of
from mlx_selfdebug.progress import NullProgress, Progress, Stage

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

logger = logging.getLogger(__name__)

_AGAIN = "run the same command again; what was downloaded is kept"

ALLOWED = ["*.json", "*.safetensors", "tokenizer.model", "*.tiktoken", "*.txt", "*.jinja"]
"""Patterns of the names of the files that are fetched."""
PROBE_TIMEOUT_S = 6.0
"""The maximum number of seconds to wait for the hub's first answer."""


def find_hub(repo: str, revision: str | None = None) -> Path | None:
    """Return the snapshot of ``repo`` in the hub's local cache, or None if it is missing or incomplete.

    The network is not used.
    """
    from huggingface_hub import snapshot_download

    try:
        path = Path(snapshot_download(repo, revision=revision, allow_patterns=ALLOWED, local_files_only=True))
    except Exception as error:
        logger.debug("%s is not in the hub's cache: %s", repo, error)
        return None
    is_complete = (path / "config.json").is_file() and any(path.glob("*.safetensors")) and not _missing_weights(path)
    return path if is_complete else None


def fetch_hub(repo: str, revision: str | None = None, *, progress: Progress | None = None) -> Path:
    """Download ``repo`` at ``revision`` and return the folder of the snapshot in the hub's local cache.

    Args:
        repo: the repository, as ``owner/name``.
        revision: a branch, tag or commit, or None for the newest commit.
        progress: told of the bytes as they arrive; silent by default.

    Raises:
        DownloadError: the hub cannot be reached within about six seconds, or the connection breaks later.
        ModelError: the hub answers that it has no such repository or revision, or that it is not public.
        FormatError: a file differs from the hub's own checksum. The file is removed.
    """
    from huggingface_hub import snapshot_download

    info = _probe(repo, revision)
    n_bytes = sum(file.size or 0 for file in info.siblings or [] if _is_allowed(file.rfilename))
    with (progress or NullProgress()).stage("download", n_bytes or None, "B") as stage:
        try:
            path = snapshot_download(
                repo,
                revision=revision,  # the name and not the commit, so that the cache knows the name when offline next time
                allow_patterns=ALLOWED,
                etag_timeout=PROBE_TIMEOUT_S,
                tqdm_class=_bar_for(stage),
            )
        except Exception as error:
            raise DownloadError(f"{repo}: the download broke off: {error}", hint=_AGAIN) from error
    _verify(Path(path), info)
    return Path(path)


def _is_allowed(filename: str) -> bool:
    """Return whether a file of a repository is fetched, by its name."""
    return any(fnmatch(filename, pattern) for pattern in ALLOWED)


def _probe(repo: str, revision: str | None) -> ModelInfo:
    """Return what the hub says about ``repo``. Raises ModelError or DownloadError as :func:`fetch_hub` does.

    The hub is asked in a thread of its own, because looking up its network address can take much longer than any timeout.
    """
    from huggingface_hub import HfApi

    answer: list[ModelInfo | Exception] = []

    def ask() -> None:
        try:
            answer.append(HfApi().model_info(repo, revision=revision, timeout=PROBE_TIMEOUT_S - 1, files_metadata=True))
        except Exception as error:
            answer.append(error)

    thread = threading.Thread(target=ask, name="hub-probe", daemon=True)
    thread.start()
    thread.join(PROBE_TIMEOUT_S)
    result = answer[0] if answer else TimeoutError(f"no answer within {PROBE_TIMEOUT_S:.0f} s")
    if isinstance(result, Exception):
        raise _explained(repo, revision, result)
    return result


def _explained(repo: str, revision: str | None, error: Exception) -> ModelError:
    """Return an error of ours that says what an error of the hub's client means and what to do about it."""
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        what = f"{repo} requires that its terms are accepted"
        return ModelError(what, hint="accept them on the hub, then run: hf auth login")
    if isinstance(error, RevisionNotFoundError):
        return ModelError(f"the hub's repository {repo} has no revision {revision!r}")
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(f"the hub has no public model {repo!r}", hint="mlx-selfdebug models list")
    if isinstance(error, HFValidationError):
        return ModelError(f"{repo!r} is not a valid repository name: {error}")
    return DownloadError(f"the hub cannot be reached for {repo}: {error}", hint="check the network connection")


def _verify(path: Path, info: ModelInfo) -> None:
    """Compare large files with the hub's SHA-256. Raises FormatError for the first that differs, and removes it."""
    for file in info.siblings or []:
        local = path / file.rfilename
        if file.lfs is None or not local.is_file() or sha256_of(local) == file.lfs.sha256:
            continue
        # A file of a snapshot is a link to the content.
        local.resolve().unlink(missing_ok=True)
        local.unlink(missing_ok=True)
        raise FormatError(f"{info.id}: {file.rfilename} differs from the hub's checksum; it was removed", hint=_AGAIN)


def _missing_weights(path: Path) -> set[str]:
    """Return the files that the index of the weights names and that are not in the snapshot.

    If none of the files is there, but a whole ``model.safetensors`` is, the index is left over from before the model was converted
    into this file. It is then ignored, as mlx_lm ignores it.
    """
    try:
        index = json.loads((path / "model.safetensors.index.json").read_text("utf-8"))
        named = set(index["weight_map"].values())
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {"model.safetensors.index.json"}
    missing = {str(name) for name in named if not (path / str(name)).is_file()}
    is_stale = len(missing) == len(named) and (path / "model.safetensors").is_file()
    return set() if is_stale else missing


def _bar_for(stage: Stage) -> Any:
    """Return a tqdm class for the hub's client. Its bars draw nothing and pass the bytes on to ``stage``."""
    from huggingface_hub.utils.tqdm import tqdm

    base: Any = tqdm

    class Bar(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # The client also makes bars that count files and what the network transfers. Only this one counts the files' bytes.
            self._counts_bytes = kwargs.get("name") == "huggingface_hub.snapshot_download"
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts_bytes:
                stage.advance(int(n or 0))
            return None

    return Bar
