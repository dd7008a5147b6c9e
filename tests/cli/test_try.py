"""The command `try`: what is typed, what is shown, and what a pipe and a terminal get."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.cli.dialogue import Dialogue
from mlx_selfdebug.cli.prompting import Command, Prompt
from mlx_selfdebug.cli.transcript import Transcript
from mlx_selfdebug.stages.tryout import Tryout
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.jsonl import read_tasks
from mlx_selfdebug.tasks.typed import typed_task
from mlx_selfdebug.testing import ScriptedModel, fenced, write_taught_model
from mlx_selfdebug.translating.typed import has_example

from ..support.values import small_config

WRONG, RIGHT = "def double(x):\n    return x * x\n", "def double(x):\n    return x + x\n"
TASK = "Return twice x.\ndouble(2) == 4\ndouble(3) == 6\n"
ROOT = Path(__file__).parent.parent.parent


def read_all(monkeypatch: pytest.MonkeyPatch, text: str) -> list[Any]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    prompt = Prompt(has_example)
    given = []
    while (each := prompt.read()) is not None:
        given.append(each)
    return given


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n\n\n", []),
        ("Words.\nf(1) == 1\n\nf(2) == 2\n\n", ["Words.\nf(1) == 1", "f(2) == 2"]),
        ("Words.\n\nf(1) == 1\n", ["Words.\n\nf(1) == 1"]),
        ("Words.\n\n\nOther words.", ["Words.", "Other words."]),
        (">>> f(1)\n1\n>>> f(2)\n2\n\n", [">>> f(1)\n1\n>>> f(2)\n2"]),
        ("f(1) == [1\n\n", ["f(1) == [1"]),
        (
            "/help\n  /task  starter  starter/a \n/quit",
            [Command("help", ""), Command("task", "starter  starter/a"), Command("quit", "")],
        ),
        ("Words that are dropped\n/base\nf(1) == 1", [Command("base", ""), "f(1) == 1"]),
        ("Windows.\r\nf(1) == 1\r\n\r\n", ["Windows.\nf(1) == 1"]),
    ],
)
def test_an_empty_line_ends_a_task_that_has_an_example(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: list[Any]
) -> None:
    assert read_all(monkeypatch, text) == expected


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Hold a dialogue with a scripted model, and return its exit code and what it wrote to stdout and stderr."""

    def hold(
        text: str, reply: str | Callable[[str, int], str] = WRONG, *, as_json: bool = False, **options: Any
    ) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        script = reply if callable(reply) else lambda prompt, seed: fenced(reply)
        with Tryout(ScriptedModel(script), small_config(), **options) as tryout:
            dialogue = Dialogue(tryout, Transcript(err=as_json), Prompt(has_example), 0, as_json=as_json)
            code = dialogue.hold()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return hold


def test_a_task_is_drafted_its_failure_shown_and_its_mistake_edited(hold: Any) -> None:
    code, out, err = hold(TASK)
    assert (code, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[:3] == ["draft, greedy", "    def double(x):", "        return x * x"]
    facts = ["failed: 1 of 2 examples", "    input     3", "    expected  6", "    got       9"]
    assert lines[lines.index(facts[0]) :][:4] == facts
    assert "    -    return x * x" in lines
    assert "    +    return x + x" in lines
    assert lines[-2] == "solved by a small edit of the draft"
    assert lines[-1].startswith("Only the examples that were typed were checked. 3")
    assert "\x1b" not in out


def test_a_first_draft_that_passes_is_said_to(hold: Any) -> None:
    _, out, _ = hold(TASK, RIGHT)
    assert "passed: 2 of 2 examples\nsolved by its first draft\n" in out


def test_a_repair_is_shown_and_so_is_one_that_changes_nothing(hold: Any) -> None:
    _, out, _ = hold(TASK, lambda prompt, seed: fenced(RIGHT if "got: " in prompt.lower() else WRONG), arm="facts")
    assert "repair\n    def double(x):\n        return x + x" in out
    assert "solved by a repair" in out
    _, out, _ = hold(TASK, WRONG, arm="facts")
    assert "(the same program again)" in out


def test_an_error_is_shown_with_its_line(hold: Any) -> None:
    _, out, _ = hold(TASK, "def double(x):\n    return x + 'x'\n", arm="facts")
    assert "    error     TypeError: unsupported operand type(s) for +: 'int' and 'str' in line 2" in out


def test_a_program_that_does_not_end_is_said_not_to(hold: Any) -> None:
    _, out, _ = hold("Loop.\nloop(1) == 1\n", "def loop(x):\n    while True: pass\n", arm="forks")
    assert "no answer in time" in out


def test_a_program_cannot_write_control_sequences_to_the_terminal(hold: Any) -> None:
    _, out, _ = hold(TASK + "\n/show\n", 'def double(x):\n    "\x1b]0;forged\x07"\n    return x * x\n')
    assert "\x1b" not in out
    assert "\\x1b]0;forged\\x07" in out


def test_without_examples_the_draft_is_shown_and_nothing_was_checked(hold: Any) -> None:
    code, out, _ = hold("Write double(x).\n\n\n")
    assert code == 0
    assert "return x * x" in out
    assert "not checked\nNo examples were given, so nothing was checked." in out


def test_what_is_not_solved_in_a_pipe_is_the_exit_code(hold: Any) -> None:
    code, out, _ = hold("Never.\ndouble(2) == 'ne' + 'ver'\n", arm="edits")
    assert code == 1
    assert "edits: " in out
    assert "none passes the examples\nnot solved\n" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Double.\ndouble(2) == [4\n", "line 2: double(2) == [4 does not parse"),
        ("Double.\ndouble(2) == 4\ntwice(2) == 4\n", "the examples call different functions: double (line 2), twice"),
        ("/tsak starter\n", "no such command 'tsak'. Did you mean 'task'?"),
        ("/task startr\n", "Did you mean 'starter'?"),
        ("/task starter flaten\n", "starter has no task 'flaten'"),
        ("/task\n", "/task needs the name of a set"),
        ("/again\n", "there is no task yet"),
        ("/show\n", "there is no answer yet"),
        ("/save x.jsonl\n", "there is no task yet"),
        ("/adapter\n", "there is no adapter to try"),
    ],
)
def test_a_mistake_is_one_clear_error_and_the_dialogue_goes_on(hold: Any, text: str, message: str) -> None:
    code, out, err = hold(f"{text}\n{TASK}", RIGHT)
    assert code == 1
    assert message in err
    assert err.startswith("Error: ")
    assert "solved by its first draft" in out


def test_a_check_that_cannot_be_run_is_an_error_and_the_dialogue_goes_on(hold: Any) -> None:
    _, out, err = hold(f"Twice.\ndouble(2) == __import__('os')._exit(3)\n\n{TASK}", RIGHT)
    assert "could not be run" in err
    assert "solved by its first draft" in out


def test_a_task_of_a_set_is_shown_played_and_scored_by_its_hidden_checks(hold: Any) -> None:
    task = next(task for task in load_tasks("starter") if task.public)
    name = task.id.rpartition("/")[2]
    _, out, _ = hold(f"/task starter {name}\n/task starter {task.id}\n", task.reference)
    assert out.count(f"{task.id}\n") == 2
    assert task.statement.splitlines()[0] in out
    assert out.count("solved by its first draft\nHidden checks, which decide nothing here: ") == 2


def test_a_task_at_random_is_one_of_the_set(hold: Any) -> None:
    _, out, _ = hold("/task starter\n")
    assert out.partition("\n")[0] in load_tasks("starter").by_id


def test_again_draws_another_draft(hold: Any) -> None:
    seeds: list[int] = []

    def reply(prompt: str, seed: int) -> str:
        seeds.append(seed)
        return fenced(RIGHT)

    _, out, _ = hold(f"{TASK}\n/again\n/again\n", reply)
    assert len(set(seeds)) == 3
    assert (out.count("draft, greedy"), out.count("draft, drawn")) == (1, 2)


def test_the_base_can_play_the_task_again_without_an_adapter(hold: Any) -> None:
    _, out, _ = hold(f"/base\n{TASK}\n/base\n", RIGHT)
    assert out.startswith("the base plays from now on\n")
    assert out.count("solved by its first draft") == 2


def test_the_last_code_is_shown_bare(hold: Any) -> None:
    _, out, _ = hold(f"{TASK}\n/show\n")
    assert out.endswith(RIGHT)


def test_a_saved_task_is_read_again(hold: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    _, out, err = hold(f"{TASK}\n/save {file}\n/save {file}\n", RIGHT)
    assert f"saved in {file} as typed/double" in out
    assert "holds this task already" in err
    assert read_tasks(file, source="typed") == [typed_task(TASK)]


def test_a_task_that_nothing_checks_is_not_saved(hold: Any, tmp_path: Path) -> None:
    _, _, err = hold(f"Write double(x).\n\n\n/save {tmp_path / 'mine.jsonl'}\n", RIGHT)
    assert "cannot be saved" in err
    assert list(tmp_path.iterdir()) == []


def test_quit_ends_before_what_follows(hold: Any) -> None:
    assert hold(f"/quit\n{TASK}") == (0, "", "")


def test_json_alone_is_on_stdout(hold: Any) -> None:
    _, out, err = hold(f"{TASK}\n/again\n", as_json=True)
    first, second = map(json.loads, out.splitlines())
    assert (first["task"], first["outcome"], first["by"], first["code"]) == ("typed/double", "solved", "edits", RIGHT)
    assert (first["seed"], second["seed"], first["player"], first["model"]) == (0, 1, "base", "scripted")
    assert "solved by a small edit" in err


class Terminal:
    """The scripted dialogue in a terminal of its own, at which one types."""

    def __init__(self, **environment: str) -> None:
        script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
        program = [sys.executable, "-m", "tests.cli.scripted_dialogue"]
        env = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **environment}
        if not environment.get("NO_COLOR"):
            env.pop("NO_COLOR", None)
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=ROOT
        )
        self.seen = ""

    def type(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def wait_for(self, text: str, timeout_s: float = 30) -> str:
        """Return what was shown up to ``text``, which is then no longer seen."""
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        end = time.monotonic() + timeout_s
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} was not shown in: {self.seen!r}"
            data = self._process.stdout.read()
            self.seen += data.decode(errors="replace") if data else ""
            time.sleep(0.02)
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def end(self) -> int:
        return self._process.wait(timeout=30)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(**environment: str) -> Terminal:
        opened.append(Terminal(**environment))
        opened[-1].wait_for("task> ")
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


@pytest.mark.slow
def test_a_task_is_typed_at_a_prompt_and_ctrl_d_ends(terminal: Any) -> None:
    window = terminal()
    window.type("Twice x; answer: x * x\n")
    window.wait_for("    > ")
    window.type("double(3) == 6\n")
    window.wait_for("    > ")
    window.type("\n")
    shown = window.wait_for("task> ")
    assert "\x1b[31mfailed" in shown
    assert "solved" in shown
    window.type("\x04")
    assert window.end() == 0


@pytest.mark.slow
def test_no_color_is_respected_at_the_prompt(terminal: Any) -> None:
    window = terminal(NO_COLOR="1")
    window.type("Twice x; answer: x * x\ndouble(3) == 6\n\n")
    shown = window.wait_for("tokens decoded")
    assert "\x1b[3" not in shown
    assert "\x1b[1m" not in shown


@pytest.mark.slow
def test_ctrl_c_stops_the_task_and_the_prompt_returns(terminal: Any) -> None:
    window = terminal()
    window.type("sleep\ndouble(3) == 6\n\n")
    window.wait_for("SLEEPING")
    window.type("\x03")
    window.wait_for("stopped")
    window.wait_for("task> ")
    window.type("Twice x; answer: x + x\ndouble(3) == 6\n\n")
    window.wait_for(" by its first draft")
    window.type("/quit\n")
    assert window.end() == 0


@pytest.mark.slow
def test_ctrl_c_at_the_prompt_forgets_what_was_typed(terminal: Any) -> None:
    window = terminal()
    window.type("Three times x; answer: x * 3\n")
    window.wait_for("    > ")
    window.type("\x03")
    window.wait_for("task> ")
    window.type("Twice x; answer: x + x\ndouble(3) == 6\n\n")
    window.wait_for(" by its first draft")


@pytest.mark.slow
def test_a_pasted_text_with_an_empty_line_is_one_task(terminal: Any) -> None:
    readline = pytest.importorskip("readline")
    if "libedit" in (readline.__doc__ or ""):
        pytest.skip("libedit takes a paste line by line")
    window = terminal()
    window.type("\x1b[200~Twice x; answer: x + x\n\ndouble(3) == 6\n\ndouble(1) == 2\x1b[201~\n")
    window.wait_for("    > ")
    window.type("\n")
    window.wait_for("passed\x1b[0m: 2 of 2 examples")


@pytest.mark.slow
def test_a_typed_line_can_be_edited_and_recalled(terminal: Any) -> None:
    pytest.importorskip("readline")
    window = terminal()
    window.type("/shwo\x7f\x7f\x7fhow\n")
    window.wait_for("there is no answer yet")
    window.wait_for("task> ")
    window.type("\x1b[A\n")
    window.wait_for("there is no answer yet")


def call(*words: str, given: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlx_selfdebug", "try", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny real model that answers the task with the wrong program."""
    return str(write_taught_model(tmp_path_factory.mktemp("taught"), {typed_task(TASK): [WRONG]}))


@pytest.mark.slow
def test_a_real_model_is_tried_from_a_pipe(taught: str, tmp_path: Path) -> None:
    done = call("--model", taught, "--json", "--quiet", given=f"{TASK}\n/save mine.jsonl\n", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["outcome"], record["by"], record["attempts"][0]["code"]) == ("solved", "edits", WRONG)
    assert "reading: " in done.stderr
    assert "solved by a small edit of the draft" in done.stderr
    assert [task.id for task in read_tasks(tmp_path / "mine.jsonl")] == ["typed/double"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere"),
        (["--arm", "luck", "--model", "{taught}"], "unknown arm 'luck'. Known: blind"),
        (["nowhere", "--adapter", "nowhere"], "give either RUN or --adapter"),
        (["--model", "qwen2.5-codr-0.5b"], "Did you mean 'qwen2.5-coder-0.5b'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    words: list[str], message: str, taught: str, tmp_path: Path
) -> None:
    done = call(*(word.format(taught=taught) for word in words), cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_statement_too_long_for_the_context_is_an_error_and_the_next_task_is_played(taught: str) -> None:
    done = call("--model", taught, "--json", "--quiet", given=f"{'word ' * 1000}\ndouble(1) == 2\n\n{TASK}")
    assert done.returncode == 1
    assert "has a context of 4,096 tokens, too few for the prompt" in done.stderr
    assert json.loads(done.stdout)["outcome"] == "solved"


@pytest.fixture(scope="module")
def trained(taught: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose adapter is as it was before its first training step, so that it writes what the base does."""
    from mlx_selfdebug.config import TrainConfig
    from mlx_selfdebug.models.load import load_model
    from mlx_selfdebug.store import Run
    from mlx_selfdebug.training.adapter import insert_adapter, save_adapter

    path = tmp_path_factory.mktemp("runs") / "mine"
    with Run(path, small_config(model=taught)) as run:
        model = load_model(taught)
        save_adapter(model.network, run.adapter_path, insert_adapter(model.network, TrainConfig(), 0), model.origin)
    return path


@pytest.mark.slow
def test_a_run_is_tried_with_its_adapter_and_compared_with_its_base(trained: Path) -> None:
    before = {file.name for file in trained.iterdir()}
    done = call(str(trained), "--quiet", given=f"{TASK}\n/base\n/adapter\n")
    assert done.returncode == 0, done.stderr
    assert f"with the adapter of {trained}; /base switches to the base" in done.stdout
    table = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith(("base ", "adapter "))]
    assert table == [["adapter", "solved"], ["base", "solved"], ["adapter", "solved"], ["base", "solved"]]
    assert {file.name for file in trained.iterdir()} == before


@pytest.mark.slow
def test_a_run_without_an_adapter_is_refused(taught: str, tmp_path: Path) -> None:
    from mlx_selfdebug.store import Run

    Run(tmp_path / "begun", small_config(model=taught)).close()
    done = call("begun", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: begun has no adapter yet\n")
