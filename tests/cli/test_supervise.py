from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mlx_selfdebug.cli.supervise import Death, supervise
from mlx_selfdebug.errors import TrainingError
from mlx_selfdebug.store import Run
from mlx_selfdebug.values.pair import Pair

from ..support.stored import n_stored, wait_for_rows
from ..support.values import small_config
from .test_kill import heed_interrupts

pytestmark = pytest.mark.slow

PAIRS = [
    Pair("repair", "python", f"t{i}", f"Fix {i}.", f"def f(): return {i}\n```", ("a", "b"), f"Write {i}.")
    for i in range(40)
]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def run_all(tmp_path: Path, *codes: str, hang_s: float = 60.0) -> tuple[int, list[Death]]:
    """Supervise a process that runs the first of ``codes``, after a death the second, and so on."""
    deaths: list[Death] = []
    code = supervise(
        lambda starts: python(codes[starts]), tmp_path, on_death=lambda _, death: deaths.append(death), hang_s=hang_s
    )
    return code, deaths


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_process_that_ends_by_itself_is_not_begun_again(tmp_path: Path, code: int) -> None:
    assert run_all(tmp_path, f"raise SystemExit({code})") == (code, [])


@pytest.mark.parametrize(
    ("death", "reason"), [("os.abort()", "SIGABRT"), ("os.kill(os.getpid(), 9)", "SIGKILL"), ("os.kill(os.getpid(), 11)", "SIGSEGV"),
     ("os.kill(os.getpid(), 15)", "SIGTERM")]
)  # fmt: skip
def test_a_process_that_dies_is_begun_again_and_the_reason_is_told(tmp_path: Path, death: str, reason: str) -> None:
    code, deaths = run_all(tmp_path, f"import os; {death}", "raise SystemExit(0)")
    assert code == 0
    assert [d.reason for d in deaths] == [f"killed by {reason}"]


def test_a_process_that_alone_is_interrupted_is_not_begun_again(tmp_path: Path) -> None:
    code = "import os, signal; signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)"
    assert run_all(tmp_path, code) == (130, [])


def test_a_process_that_stores_nothing_for_long_is_killed_and_begun_again(tmp_path: Path) -> None:
    code, deaths = run_all(tmp_path, "import time; time.sleep(60)", "", hang_s=0.5)
    assert code == 0
    assert deaths[0].reason == "killed since nothing was stored for 0 s"


@pytest.mark.parametrize("reason", ["killed by SIGKILL", "killed since nothing was stored for 1800 s"])
def test_a_death_is_a_sentence_about_the_process_whatever_its_reason(reason: str) -> None:
    assert f"its process {Death(reason, 1834.2)}" == f"its process died after 1834 s ({reason})"


def test_a_process_that_keeps_storing_is_let_alone(tmp_path: Path) -> None:
    busy = f"import time\nfor i in range(8): open({str(tmp_path / 'x')!r}, 'w').write('x'); time.sleep(0.25)"
    assert run_all(tmp_path, busy, hang_s=1.5) == (0, [])


def test_a_process_that_always_dies_is_given_up_with_every_reason(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="died 4 times: killed by SIGABRT, killed by SIGABRT"):
        run_all(tmp_path, *["import os; os.abort()"] * 4)


@pytest.mark.parametrize(("system", "value"), [("darwin", "1"), ("linux", "None")])
def test_on_macos_alone_the_gpus_watchdog_is_asked_for_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, value: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    code = f"import os; assert str(os.environ.get('AGX_RELAX_CDM_CTXSTORE_TIMEOUT')) == {value!r}"
    assert run_all(tmp_path, code) == (0, [])


def open_run(path: Path, model: Path, *, distilled_share: float = 0.0) -> None:
    config = small_config(
        model=str(model), train__batch_size=2, train__epochs=10, train__distilled_share=distilled_share
    )
    with Run(path, config) as run:
        run.replace_pairs(PAIRS)


def train(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mlx_selfdebug", "train", "--run", str(path), "--quiet"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)


def child_in_training(parent: subprocess.Popen[str], path: Path) -> psutil.Process:
    """The training process, once it has stored steps."""
    while parent.poll() is None:
        children = psutil.Process(parent.pid).children()
        if children and n_stored(path, "steps") >= 3:
            return children[0]
        time.sleep(0.02)
    raise AssertionError("training ended before it could be disturbed")


def test_a_training_whose_process_is_killed_goes_on_by_itself(tmp_path: Path, tiny_folder: Path) -> None:
    open_run(tmp_path / "run", tiny_folder)
    parent = train(tmp_path / "run")
    child_in_training(parent, tmp_path / "run").kill()
    _, stderr = parent.communicate(timeout=120)
    assert parent.returncode == 0, stderr
    assert "(killed by SIGKILL)" in stderr
    with Run(tmp_path / "run") as run:
        assert len(run.steps()) == 20 * 10
        assert any(name.startswith("train.1.") for name in run.facts().deaths)


def test_a_training_ends_when_the_process_that_watches_it_is_killed(tmp_path: Path, tiny_folder: Path) -> None:
    open_run(tmp_path / "run", tiny_folder)
    parent = train(tmp_path / "run")
    child = child_in_training(parent, tmp_path / "run")
    parent.kill()
    parent.communicate()
    assert psutil.wait_procs([child], timeout=20)[1] == []


def test_an_interrupted_training_ends_with_130_and_leaves_no_process(tmp_path: Path, tiny_folder: Path) -> None:
    open_run(tmp_path / "run", tiny_folder)
    parent = train(tmp_path / "run")
    child = child_in_training(parent, tmp_path / "run")
    os.kill(parent.pid, signal.SIGINT)
    _, stderr = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert "the same command goes on from there" in stderr
    assert not child.is_running()


STEP_BY_STEP = """
import sys
from mlx_selfdebug.cli.main import main
from mlx_selfdebug.training import session
session.CHECKPOINT_S = 0.0
main(["train", "--run", sys.argv[1], "--quiet", "--watched"])
"""


def test_a_training_killed_at_ten_random_steps_ends_with_the_same_adapter_bit_for_bit(
    tmp_path: Path, tiny_folder: Path
) -> None:
    def begin(path: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", STEP_BY_STEP, str(path)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    for name in ("whole", "cut"):
        open_run(tmp_path / name, tiny_folder, distilled_share=0.5)
    with begin(tmp_path / "whole") as process:
        assert process.wait(timeout=120) == 0
    for moment in sorted(random.Random(5).sample(range(1, 150), 10)):
        with begin(tmp_path / "cut") as process:
            wait_for_rows(moment, tmp_path / "cut", process, "steps")
            process.kill()
    assert 0 < n_stored(tmp_path / "cut", "steps") < 20 * 10
    with begin(tmp_path / "cut") as process:
        assert process.wait(timeout=120) == 0
    whole, cut = (tmp_path / name / "adapter" / "adapters.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
