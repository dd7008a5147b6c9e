"""What goes up to the hub, and what happens if it does not. The hub's own client talks to a small hub on this machine."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import ModelCard

from mlx_selfdebug.errors import StoreError, UploadError, UsageError
from mlx_selfdebug.exporting.hub import Pushed, check_repository, push
from mlx_selfdebug.exporting.hub_contents import contents_of
from mlx_selfdebug.store import Key, Run

from ..support.hub import Hub, Repository, running_hub
from ..support.small import WEIGHTS, write_adapter
from ..support.values import small_config

# The hub's client calls its HTTP library in a way that this discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "me/coder"


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The folder of a run with an adapter, and with everything else that such a folder may hold."""
    folder = tmp_path / "runs" / "mine"
    with Run(folder, small_config(model="qwen2.5-coder-0.5b")) as run:
        run.remember(Key.MODEL, "gguf:1d9614638d18")
    write_adapter(folder / "adapter", base_origin="gguf:1d9614638d18")
    for name in (
        "report.html",
        "summary.json",
        "training/optimizer.safetensors",
        "adapter/train.log",
        "adapter/optimizer.safetensors",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not for others")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and a user who is logged in to it."""
    with running_hub() as local:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", local.address)
        # What the hub's client does without the package hf_xet, whose own server is not to be had here.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.delenv("HF_OIDC_RESOURCE", raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield local


def upload(path: Path, repository: str = REPO, **options: bool) -> Pushed:
    return push(contents_of(path, repository), repository, **options)


def error_of(path: Path, repository: str = REPO, **options: bool) -> UploadError:
    with pytest.raises(UploadError) as caught:
        upload(path, repository, **options)
    return caught.value


def test_the_adapter_of_a_run_and_its_card_go_up_as_one_commit_to_a_private_repository(hub: Hub, trained: Path) -> None:
    pushed = upload(trained)
    repository = hub.repositories[REPO]
    assert repository.files["adapters.safetensors"] == WEIGHTS
    assert set(repository.files) == {"README.md", "adapter_config.json", "adapters.safetensors"}
    assert repository.private
    assert [commit["message"] for commit in repository.commits] == ["Upload the adapter"]
    assert pushed == Pushed(REPO, f"{hub.address}/{REPO}", repository.sha, True, True, True, ())


def test_the_card_has_the_front_matter_that_the_hub_asks_for_and_says_how_to_get_the_adapter(
    hub: Hub, trained: Path
) -> None:
    upload(trained)
    card = ModelCard(hub.repositories[REPO].files["README.md"].decode())
    assert card.data.base_model == "mlx-community/Qwen2.5-Coder-0.5B-Instruct-4bit"
    assert card.data.get("base_model_relation") == "adapter"
    assert (card.data.library_name, card.data.license, card.data.pipeline_tag) == (
        "mlx",
        "apache-2.0",
        "text-generation",
    )
    assert {"mlx", "lora", "self-debugging"} <= set(card.data.tags)
    assert f"hf download {REPO} --local-dir adapter" in card.text


def test_what_is_not_uploaded_is_named(trained: Path) -> None:
    assert contents_of(trained, REPO).left_out == ("optimizer.safetensors", "train.log")


def test_the_adapters_own_folder_is_the_same_as_its_run(trained: Path) -> None:
    by_run, by_folder = (contents_of(path, REPO) for path in (trained, trained / "adapter"))
    assert by_run == by_folder


def test_a_repository_that_has_everything_gets_no_second_commit(hub: Hub, trained: Path) -> None:
    upload(trained)
    again = upload(trained)
    assert (again.changed, again.created) == (False, False)
    assert len(hub.repositories[REPO].commits) == 1


def test_a_repository_that_exists_gets_what_has_changed_and_keeps_the_rest(hub: Hub, trained: Path) -> None:
    upload(trained)
    hub.repositories[REPO].files |= {".gitattributes": b"", "notes.txt": b"mine"}
    (trained / "adapter" / "adapters.safetensors").write_bytes(WEIGHTS + b"\0")
    pushed = upload(trained)
    assert (pushed.changed, pushed.others) == (True, ("notes.txt",))
    assert hub.repositories[REPO].commits[1]["files"] == ["adapters.safetensors"]
    assert hub.repositories[REPO].files["notes.txt"] == b"mine"


def test_a_repository_is_public_if_that_is_asked_for(hub: Hub, trained: Path) -> None:
    assert not upload(trained, public=True).private
    assert not hub.repositories[REPO].private


@pytest.mark.parametrize(("private", "message"), [(True, "exists and is private"), (False, "exists and is public")])
def test_an_existing_repository_is_neither_published_nor_hidden_nor_filled_against_what_was_asked(
    hub: Hub, trained: Path, private: bool, message: str
) -> None:
    hub.repositories[REPO] = Repository(private=private)
    with pytest.raises(UsageError, match=message):
        upload(trained, public=private)
    assert (hub.repositories[REPO].private, hub.repositories[REPO].files) == (private, {})


def test_without_a_token_one_line_says_how_to_log_in(hub: Hub, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    error = error_of(trained)
    assert str(error) == "you are not logged in to the hub"
    assert "hf auth login" in str(error.hint)
    assert "HF_TOKEN" in str(error.hint)


def test_a_token_that_the_hub_does_not_know_is_refused(
    hub: Hub, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert str(error_of(trained)) == "the hub does not accept your token"


def test_a_token_that_may_only_read_is_refused_before_anything_is_made(hub: Hub, trained: Path) -> None:
    hub.users["hf_secret"]["role"] = "read"
    assert "may read, but not write" in str(error_of(trained))
    assert hub.repositories == {}


def test_a_repository_of_someone_else_is_refused_with_a_name_that_would_do(hub: Hub, trained: Path) -> None:
    error = error_of(trained, "someone/coder")
    assert "me may not write to someone/coder" in str(error)
    assert "me/coder" in str(error.hint)


def test_a_visible_repository_of_someone_else_is_not_written_to(hub: Hub, trained: Path) -> None:
    hub.repositories["someone/coder"] = Repository(private=False)
    assert "may not write" in str(error_of(trained, "someone/coder", public=True))
    assert hub.repositories["someone/coder"].files == {}


@pytest.mark.parametrize(
    "name", ["coder", "me/coder/2", "me/co der", "me/-coder", "me/a--b", "", "me/", "https://hub/me/x"]
)
def test_a_name_that_no_repository_can_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_repository(name)
    assert "OWNER/NAME" in str(caught.value.hint)


def test_no_hub_is_told_in_one_line(hub: Hub, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    error = error_of(trained)
    assert str(error).startswith("the hub cannot be reached at http://127.0.0.1:9")
    assert "\n" not in str(error)


def test_a_hub_that_fails_at_the_end_shows_nothing_of_the_upload_and_the_same_call_finishes_it(
    hub: Hub, trained: Path
) -> None:
    hub.fails["/commit/"] = 500
    error = error_of(trained)
    assert "HTTP 500" in str(error)
    assert f"{REPO} was made, and it is still empty" in str(error)
    assert hub.repositories[REPO].files == {}
    hub.fails.clear()
    hub.asked.clear()
    assert upload(trained).changed
    assert not [request for request in hub.asked if request.startswith("PUT")]  # the weights were there already


def test_weights_that_the_hub_does_not_take_are_told_with_its_reason(hub: Hub, trained: Path) -> None:
    hub.fails["/large/"], hub.complaint = 413, "too large"
    assert "too large" in str(error_of(trained))
    assert hub.repositories[REPO].files == {}


def test_a_token_is_not_shown_even_if_the_hub_repeats_it(hub: Hub, trained: Path) -> None:
    hub.fails["/whoami"], hub.complaint = 400, "what is hf_secret supposed to be?"
    error = error_of(trained)
    assert "***" in str(error)
    assert "hf_secret" not in "".join(traceback.format_exception(error))


KINDS = {
    "PEFT adapter": ({"adapter_model.safetensors": WEIGHTS, "adapter_config.json": b"{}"}, "peft", "AutoPeftModel"),
    "model": (
        {"config.json": b"{}", "model.safetensors": WEIGHTS, "tokenizer.json": b"{}", "tokenizer_config.json": b"{}"},
        "mlx",
        "mlx_lm.generate --model me/coder",
    ),
    "GGUF model": ({"coder.gguf": b"GGUF"}, "gguf", "llama-cli -hf me/coder"),
}


@pytest.mark.parametrize("name", KINDS)
def test_an_exported_folder_goes_up_with_a_card_of_its_kind(hub: Hub, tmp_path: Path, name: str) -> None:
    files, library, use = KINDS[name]
    folder = tmp_path / "exported"
    folder.mkdir()
    for file, content in {**files, "notes.txt": b"", "run.db": b"", "checkpoint.pt": b""}.items():
        if file != "run.db":
            (folder / file).write_bytes(content)
    contents = contents_of(folder, REPO)
    push(contents, REPO)
    assert {key: value for key, value in hub.repositories[REPO].files.items() if key != "README.md"} == files
    card = ModelCard(hub.repositories[REPO].files["README.md"].decode())
    assert (contents.kind.name, card.data.library_name) == (name, library)
    assert use in contents.use
    assert contents.use in card.text


def test_a_gguf_file_alone_can_be_uploaded(tmp_path: Path) -> None:
    (tmp_path / "coder.gguf").write_bytes(b"GGUF")
    (tmp_path / "other.txt").write_text("")
    assert [file.name for file in contents_of(tmp_path / "coder.gguf", REPO).files] == ["README.md", "coder.gguf"]


def test_a_card_that_is_there_is_completed_and_otherwise_kept(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    (folder / "README.md").write_text(
        "---\nlicense: mit\ntags: [own]\nbase_model: someone/base\n---\n# Mine\n\nMy words.\n"
    )
    [text] = [file.content for file in contents_of(folder, REPO).files if file.name == "README.md"]
    assert isinstance(text, bytes)
    card = ModelCard(text.decode())
    assert (card.data.license, card.data.base_model, card.data.library_name) == ("mit", "someone/base", "mlx")
    assert card.data.tags[:2] == ["own", "mlx"]
    assert "My words." in card.text


def test_a_card_whose_front_matter_is_broken_is_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    (folder / "README.md").write_text("---\ntags: [a\n---\n# Mine\n")
    with pytest.raises(UploadError, match=r"README\.md cannot be read"):
        contents_of(folder, REPO)


def test_no_folder_of_this_machine_goes_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = write_adapter(
        tmp_path / "adapter",
        base_origin="folder:/home/someone/base",
        model="/home/someone/base",
        data=["~/data/train.jsonl"],
    )
    (folder / "README.md").write_text(
        f"---\nbase_model: /home/someone/base\n---\n# {folder}/x, {tmp_path}/home/runs, /home/someone/base\n"
    )
    files = {file.name: file.content for file in contents_of(folder, REPO).files}
    settings = json.loads(files["adapter_config.json"])
    assert (settings["model"], settings["data"], "base_origin" in settings) == ("base", ["train.jsonl"], False)
    card = files["README.md"].decode()  # type: ignore[union-attr]
    assert "/home/someone" not in card
    assert str(tmp_path) not in card
    assert "# x, runs, base" in card


def test_no_folder_goes_up_in_settings_that_stand_inside_of_others(tmp_path: Path) -> None:
    inner = json.dumps({"base_origin": "folder:/home/someone/base", "rank": 8})
    folder = write_adapter(tmp_path / "adapter", auto_mapping={"settings": inner})
    files = {file.name: file.content for file in contents_of(folder, REPO).files}
    assert json.loads(json.loads(files["adapter_config.json"])["auto_mapping"]["settings"]) == {"rank": 8}


def test_settings_without_paths_go_up_as_they_are(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", base_origin="hub:someone/base@0123456789ab")
    files = {file.name: file.content for file in contents_of(folder, REPO).files}
    assert files["adapter_config.json"] == folder / "adapter_config.json"


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_a_folder_without_anything_to_upload_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=name):
        contents_of(tmp_path / name, REPO)


def test_a_run_without_an_adapter_cannot_be_pushed(run: object, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no adapter"):
        contents_of(tmp_path / "run", REPO)
