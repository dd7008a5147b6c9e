"""Where a public set's file comes from when no path is given: the Hugging Face hub, its cache first, giving up soon without one."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.progress import without_widgets

TIMEOUT_S = 6.0


@dataclass(frozen=True)
class Published:
    """A file of a dataset repository."""

    repo: str
    filename: str

    def fetch(self, name: str) -> Path:
        """The file in the hub's cache, downloaded if need be. Raises TaskError that says how set ``name`` is read from a file."""
        without_widgets()
        try:
            return self._cached() or self._downloaded()
        except Exception as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise TaskError(
                f"{name}: {self.filename} of the hub's {self.repo} cannot be had: {said[0]}",
                hint=f"from a file: {name}:PATH",
            ) from error

    def _cached(self) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(hf_hub_download(self.repo, self.filename, repo_type="dataset", local_files_only=True))
        except LocalEntryNotFoundError:
            return None

    def _downloaded(self) -> Path:
        from huggingface_hub import hf_hub_download

        _probe(self.repo)
        return Path(hf_hub_download(self.repo, self.filename, repo_type="dataset", etag_timeout=TIMEOUT_S))


def _probe(repo: str) -> None:
    """Raises what the hub says, or TimeoutError; in a thread of its own, since looking up a name can hang past any timeout."""
    from huggingface_hub import HfApi

    answer: list[Exception | None] = []

    def ask() -> None:
        try:
            HfApi().dataset_info(repo, timeout=TIMEOUT_S - 1)
            answer.append(None)
        except Exception as error:
            answer.append(error)

    thread = threading.Thread(target=ask, name="hub-probe", daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    if not answer:
        raise TimeoutError(f"the hub gave no answer within {TIMEOUT_S:.0f} s")
    if answer[0]:
        raise answer[0]
