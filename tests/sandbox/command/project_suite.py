"""The suite of the project in ``test_projects.py``: what honest suites do. It is copied there and not collected here."""

import asyncio
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import shapes


def square(x):
    return x * x


def test_the_patched_copy_is_imported_by_way_of_the_editable_install():
    assert shapes.area(3) == 9


def test_files_in_tmp_path(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0o600)
    os.rename(tmp_path / "a", tmp_path / "b")
    os.symlink("b", tmp_path / "c")
    os.link(tmp_path / "b", tmp_path / "d")
    os.utime(tmp_path / "b")
    os.mkfifo(tmp_path / "e")
    assert (tmp_path / "c").read_text() == "x"


def test_captured_output(capsys):
    sys.stdout.write("hello\n")
    assert capsys.readouterr().out == "hello\n"


def test_a_patched_variable(monkeypatch):
    monkeypatch.setenv("COLOUR", "red")
    assert os.environ["COLOUR"] == "red"


def test_its_interpreter_in_a_process():
    done = subprocess.run([sys.executable, "-c", "import shapes; print(1)"], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_ending_a_process():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    process.terminate()
    assert process.wait() == -15


def test_a_pool_of_forked_processes():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(square, [1, 2, 3]) == [1, 4, 9]


def test_a_spawned_process():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(square, 3).result() == 9


def test_shared_memory():
    memory = shared_memory.SharedMemory(create=True, size=100)
    memory.close()
    memory.unlink()


def test_threads():
    found = []
    threads = [threading.Thread(target=found.append, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(9))


def test_numpy():
    assert np.linalg.det(np.eye(50) @ np.eye(50)) == pytest.approx(1)


def test_a_database(tmp_path):
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("create table t (x)")
        database.execute("insert into t values (1)")
    assert database.execute("select * from t").fetchall() == [(1,)]


def test_asyncio_with_a_process():
    async def main():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=asyncio.subprocess.PIPE)
        return (await process.communicate())[0]

    assert asyncio.run(main()) == b"1\n"


def test_temporary_files():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x").write_text("x")


def test_time_zones():
    assert ZoneInfo("Europe/Berlin").key == "Europe/Berlin"


def test_files_in_the_project():
    Path("written").write_text("x")
    assert "written" in os.listdir()
