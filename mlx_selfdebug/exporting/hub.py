"""Upload an adapter or an exported model to the Hugging Face hub, as one commit.

    contents = contents_of(Path("runs/mine"), "you/coder-that-debugs")
    print(push(contents, "you/coder-that-debugs"))

A new repository is private unless ``public`` is given. The visibility of an existing repository is never changed: if it is not
what was asked for, nothing is uploaded. ``hub_contents.py`` chooses the files.
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

MESSAGE_LENGTH = 200
"""The maximum number of characters of a message of the hub that are shown."""
_AGAIN = "run the same command again; what was uploaded is not uploaded twice"
_LOG_IN = "run: hf auth login   (or set HF_TOKEN to a token that may write)"


@dataclass(frozen=True)
class Pushed:
    """The result of an upload."""

    repository: str
    """The repository, as owner/name."""
    address: str
    """The address of the repository's page."""
    commit: str
    """The hash of the newest commit of the repository."""
    private: bool
    """Whether only those who may see the repository can download it."""
    created: bool
    """Whether the repository was made by this upload."""
    changed: bool
    """Whether there is a new commit. There is none if the repository had all files already."""
    others: tuple[str, ...]
    """The names of the repository's files that are not part of this upload. They are left as they are."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def check_repository(name: str) -> None:
    """Raise UsageError unless ``name`` has the form OWNER/NAME and the characters that the hub allows."""
    hint = "write it as OWNER/NAME, where OWNER is your user name on the hub or an organization of yours"
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(f"{name!r} is not a name of a repository: {error}", hint=hint) from None
    if "/" not in name:
        raise UsageError(f"{name!r} has no owner", hint=hint)


def push(contents: Contents, repository: str, *, public: bool = False, message: str = "", bars: bool = False) -> Pushed:
    """Upload ``contents`` to ``repository`` and return the result.

    The repository is created if it does not exist. All files are part of one commit, so it has either all of them or none.

    Args:
        contents: the files to upload.
        repository: the repository, as owner/name.
        public: whether everyone may see the repository.
        message: the message of the commit; by default it names what is uploaded.
        bars: whether the hub's client shows its progress bars.

    Raises:
        UsageError: the name of the repository is wrong, or the repository exists and ``public`` does not say what it is.
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
    # The hub itself adds .gitattributes to each repository.
    ours = {file.name for file in contents.files} | {".gitattributes"}
    existing = [file.rfilename for file in (before.siblings if before else None) or []]
    return Pushed(
        repository=repository,
        address=f"{upload.api.endpoint}/{repository}",
        commit=commit.oid,
        private=not public if before is None else bool(before.private),
        created=before is None,
        changed=before is None or commit.oid != before.sha,
        others=tuple(sorted(name for name in existing if name not in ours)),
    )


def _check_visibility(repository: str, *, is_private: bool, public: bool) -> None:
    """Raise UsageError if an existing repository is private and a public one was asked for, or the other way round."""
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
    """Upload all files as one commit, and return what the hub says about it."""
    # HfApi.upload_folder would upload every file that it finds in a folder, and might make several commits.
    operations = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.content) for file in contents.files]
    return api.create_commit(repository, operations, commit_message=message or f"Upload the {contents.kind.name}")


@dataclass
class _Upload:
    """An upload that is under way. Its requests raise errors that say what the user can do."""

    repository: str
    api: HfApi
    user: str = ""
    """The name of the user who is logged in, once it is known."""
    created: bool = False
    """Whether the repository was made by this upload."""

    def log_in(self) -> None:
        """Find out who is logged in. Raises UploadError if nobody is, or if the token may not write."""
        account = self.ask("log-in", self.api.whoami)
        self.user = str(account["name"])
        role = account.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise UploadError(f"the token of {self.user} may read, but not write", hint=_LOG_IN)

    def find(self) -> Any:
        """Return the hub's information about the repository, or None if there is no such repository that the user may see."""
        return self.ask("look-up", self._info)

    def _info(self) -> Any:
        try:
            return self.api.model_info(self.repository)
        except RepositoryNotFoundError:
            return None

    def ask(self, request: str, call: Callable[[], Any]) -> Any:
        """Return what ``call`` returns. Raises UploadError in place of any error of the hub's client.

        ``request`` says in a word or two what is asked for, such as "upload".
        """
        try:
            return call()
        except Exception as error:
            # An UploadError is shown with the error that caused it, unless that would print the token.
            raise self._explained(request, _cause(error)) from (None if _shows_token(error) else error)

    def _explained(self, request: str, error: BaseException) -> UploadError:
        """Return the UploadError that says in one line what an error of the hub's client means, with what helps."""
        if isinstance(error, LocalTokenNotFoundError):
            return UploadError("you are not logged in to the hub", hint=_LOG_IN)
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        ending = f"; {self.repository} was made, and it is still empty" if self.created else ""
        if status == 401:
            return UploadError(f"the hub does not accept your token{ending}", hint=_LOG_IN)
        if status in (403, 404) and self.user:
            own_repository = f"{self.user}/{self.repository.rpartition('/')[2]}"
            return UploadError(
                f"{self.user} may not write to {self.repository}{_message_of(error)}{ending}",
                hint=f"choose another repository, such as {own_repository}, or log in with a token that may write there",
            )
        if status is not None and status >= 500:
            return UploadError(
                f"the hub failed (HTTP {status}), and no part of the upload is visible{ending}", hint=_AGAIN
            )
        if status is not None or isinstance(error, ValueError):
            return UploadError(f"the hub refuses the {request}{_message_of(error)}{ending}")
        return UploadError(f"the hub cannot be reached at {self.api.endpoint}{_message_of(error)}{ending}", hint=_AGAIN)


def _cause(error: BaseException) -> BaseException:
    """Return what went wrong. The hub's client wraps an error with a large file into a RuntimeError that does not explain it."""
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error


def _message_of(error: BaseException) -> str:
    """Return the message of an error as the end of a sentence: ": " and one line, in which the token is replaced by stars."""
    text = getattr(error, "server_message", None) or str(error) or type(error).__name__
    token = _token()
    line = " ".join((text.replace(token, "***") if token else text).split())
    return f": {line}" if len(line) <= MESSAGE_LENGTH else f": {line[:MESSAGE_LENGTH]}..."


def _shows_token(error: BaseException) -> bool:
    """Return whether the traceback of ``error`` shows the token. It does if the token has characters that no header may have."""
    token = _token()
    return bool(token) and token in "".join(traceback.format_exception(error))


def _token() -> str:
    """Return the user's token for the hub, or "" if there is none."""
    try:
        return get_token() or ""
    except Exception:  # The client may have to ask the hub for the token, and that request can fail in any way.
        return ""


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """Show or hide the progress bars of the hub's client inside the block, and restore the setting afterwards."""
    were_shown = not are_progress_bars_disabled()
    _set_bars(were_shown, shown)
    try:
        yield
    finally:
        _set_bars(shown, were_shown)


def _set_bars(are_shown: bool, shown: bool) -> None:
    """Show or hide the bars, unless they are shown or hidden already."""
    if shown and not are_shown:
        enable_progress_bars()
    elif are_shown and not shown:
        disable_progress_bars()
