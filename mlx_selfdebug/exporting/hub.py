"""Upload an adapter or an exported model to the Hugging Face hub, as one commit.

    contents = contents_of(Path("runs/mine"), "you/coder-that-debugs")
    print(push(contents, "you/coder-that-debugs"))

A repository is made private unless it is to be public. One that exists keeps its visibility: what does not fit it is refused.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils._validators import validate_repo_id
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from mlx_selfdebug.errors import UploadError, UsageError
from mlx_selfdebug.exporting.hub_contents import Contents

_AGAIN = "run the same command again; what was uploaded is not uploaded twice"
MESSAGE_LENGTH = 200
"""The maximum number of characters of a message of the hub that are shown."""
_LOG_IN = "run: hf auth login   (or set HF_TOKEN to a token that may write)"


@dataclass(frozen=True)
class Pushed:
    """What an upload did."""

    repository: str
    """The repository, as owner/name."""
    address: str
    """The address of its page."""
    commit: str
    """The commit that the repository is at now."""
    private: bool
    """Whether only those who may see the repository can download it."""
    created: bool
    """Whether the repository was made by this upload."""
    changed: bool
    """Whether there is a new commit. There is none if the repository had all files already."""
    others: tuple[str, ...]
    """The files of the repository that are not part of this upload. They are left as they are."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def check_repository(name: str) -> None:
    """Raise UsageError if ``name`` cannot be the name of a repository on the hub with its owner."""
    hint = "write it as OWNER/NAME, where OWNER is your user name on the hub or an organization of yours"
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(f"{name!r} is not a name of a repository: {error}", hint=hint) from None
    if "/" not in name:
        raise UsageError(f"{name!r} has no owner", hint=hint)


def push(contents: Contents, repository: str, *, public: bool = False, message: str = "", bars: bool = False) -> Pushed:
    """Upload ``contents`` to ``repository`` and return what was done.

    The repository is created if it does not exist. All files are part of one commit, so it has either all of them or none.

    Args:
        contents: the files to upload.
        repository: the repository, as owner/name.
        public: whether everyone may see the repository.
        message: the message of the commit; by default it names what is uploaded.
        bars: whether the hub's client shows its progress bars.

    Raises:
        UsageError: the name of the repository is wrong, or it exists and ``public`` does not fit it.
        UploadError: nobody is logged in, the hub refuses the upload, or it cannot be reached.
    """
    check_repository(repository)
    upload = _Upload(repository, HfApi())
    with _bars(bars):
        upload.log_in()
        before = upload.find()
        if before is None:
            upload.ask("new repository", lambda: upload.api.create_repo(repository, private=not public))
            upload.created = True
        else:
            _check_visibility(repository, is_private=bool(before.private), public=public)
        commit = upload.ask("upload", lambda: _commit(upload.api, contents, repository, message))
    ours = {file.name for file in contents.files} | {".gitattributes"}
    there = [file.rfilename for file in (before.siblings if before else None) or []]
    return Pushed(
        repository,
        f"{upload.api.endpoint}/{repository}",
        commit.oid,
        private=not public if before is None else bool(before.private),
        created=before is None,
        changed=before is None or commit.oid != before.sha,
        others=tuple(sorted(name for name in there if name not in ours)),
    )


def _check_visibility(repository: str, *, is_private: bool, public: bool) -> None:
    """Raise UsageError if a repository that exists is not what was asked for."""
    if is_private and public:
        raise UsageError(
            f"{repository} exists and is private; --public does not change that",
            hint="leave out --public, or make it public in its settings on the hub",
        )
    if not is_private and not public:
        raise UsageError(
            f"{repository} exists and is public, so everyone would see the upload", hint="add --public if that is meant"
        )


def _commit(api: HfApi, contents: Contents, repository: str, message: str) -> Any:
    # HfApi.upload_folder may make several commits, and uploads what it finds. This makes one, of these files.
    operations = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.content) for file in contents.files]
    return api.create_commit(repository, operations, commit_message=message or f"Upload the {contents.kind.name}")


@dataclass
class _Upload:
    """An upload that is under way."""

    repository: str
    api: HfApi
    user: str = ""
    """The name of who is logged in, once it is known."""
    created: bool = False
    """Whether the repository was made by this upload."""

    def log_in(self) -> None:
        """Find out who is logged in. Raises UploadError if nobody is, or if the token may not write."""
        who = self.ask("log-in", self.api.whoami)
        self.user = str(who["name"])
        role = who.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise UploadError(f"the token of {self.user} may read, but not write", hint=_LOG_IN)

    def find(self) -> Any:
        """Return what the hub says about the repository, or None if it has no such repository that the user may see."""
        return self.ask("look-up", self._info)

    def _info(self) -> Any:
        try:
            return self.api.model_info(self.repository)
        except RepositoryNotFoundError:
            return None

    def ask(self, what: str, call: Callable[[], Any]) -> Any:
        """Return what ``call`` returns. Raises UploadError in place of any error of the hub's client."""
        try:
            return call()
        except Exception as error:
            raise self._explained(what, _cause(error)) from (None if _shows_token(error) else error)

    def _explained(self, what: str, error: BaseException) -> UploadError:
        """Return an error of ours that says in one line what an error of the hub's client means."""
        if isinstance(error, LocalTokenNotFoundError):
            return UploadError("you are not logged in to the hub", hint=_LOG_IN)
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        ending = f"; {self.repository} was made, and it is still empty" if self.created else ""
        if status == 401:
            return UploadError(f"the hub does not accept your token{ending}", hint=_LOG_IN)
        if status in (403, 404) and self.user:
            own = f"{self.user}/{self.repository.rpartition('/')[2]}"
            return UploadError(
                f"{self.user} may not write to {self.repository}{_said(error)}{ending}",
                hint=f"choose another repository, such as {own}, or log in with a token that may write there",
            )
        if status is not None and status >= 500:
            return UploadError(
                f"the hub failed (HTTP {status}), and no part of the upload is visible{ending}", hint=_AGAIN
            )
        if status is not None or isinstance(error, ValueError):
            return UploadError(f"the hub refuses the {what}{_said(error)}{ending}")
        return UploadError(f"the hub cannot be reached at {self.api.endpoint}{_said(error)}{ending}", hint=_AGAIN)


def _cause(error: BaseException) -> BaseException:
    """Return what went wrong. The hub's client wraps what goes wrong with a large file into a RuntimeError that does not say it."""
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error


def _said(error: BaseException) -> str:
    """Return what an error says as the end of a sentence: one line, without the token."""
    text = getattr(error, "server_message", None) or str(error) or type(error).__name__
    token = _token()
    line = " ".join((text.replace(token, "***") if token else text).split())
    return f": {line}" if len(line) <= MESSAGE_LENGTH else f": {line[:MESSAGE_LENGTH]}..."


def _shows_token(error: BaseException) -> bool:
    """Return whether the traceback of ``error`` would show the token, as it does if the token is no valid header."""
    token = _token()
    return bool(token) and token in "".join(traceback.format_exception(error))


def _token() -> str:
    try:
        return get_token() or ""
    except Exception:  # Where tokens are exchanged for others, this can fail as any request can.
        return ""


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """Show the bars of the hub's client inside the block, or do not."""
    were_disabled = are_progress_bars_disabled()
    if shown == were_disabled:
        (enable_progress_bars if shown else disable_progress_bars)()
    try:
        yield
    finally:
        if shown == were_disabled:
            (disable_progress_bars if were_disabled else enable_progress_bars)()
