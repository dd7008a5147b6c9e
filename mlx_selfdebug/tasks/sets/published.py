"""Fetch the file of a public set from the Hugging Face hub, or from the hub's cache on this machine.

If the hub cannot be reached, this fails within seconds.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.progress import import_tqdm_quietly

TIMEOUT_S = 6.0
"""Seconds in which the hub has to answer."""


@dataclass(frozen=True)
class Published:
    """A file in a dataset repository of the Hugging Face hub."""

    repo: str
    """The repository as OWNER/NAME."""
    filename: str
    """The path of the file within the repository."""

    def fetch(self, name: str) -> Path:
        """Return the path of the file in the hub's cache, after downloading it if it is not there.

        Raises TaskError if it cannot be downloaded. The error says how to read the set ``name`` from a file instead.
        """
        import_tqdm_quietly()
        try:
            return self._cached() or self._downloaded()
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TaskError(
                f"{name}: {self.filename} could not be downloaded from {self.repo} on the Hugging Face hub: {reason}",
                hint=f"to read the set from a file that you have: {name}:PATH",
            ) from error

    def _cached(self) -> Path | None:
        """Return the path of the file in the hub's cache, or None if it is not there. The network is not used."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(hf_hub_download(self.repo, self.filename, repo_type="dataset", local_files_only=True))
        except LocalEntryNotFoundError:
            return None

    def _downloaded(self) -> Path:
        """Download the file into the hub's cache, and return its path. Raises the hub's errors."""
        from huggingface_hub import hf_hub_download

        _probe(self.repo)  # fails within seconds if the hub cannot be reached
        return Path(hf_hub_download(self.repo, self.filename, repo_type="dataset", etag_timeout=TIMEOUT_S))


def _probe(repo: str) -> None:
    """Check that the hub knows ``repo``. Raises the hub's error, or TimeoutError if the hub does not answer in time.

    The request runs in a thread of its own, since looking up a host name can hang past any timeout.
    """
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
