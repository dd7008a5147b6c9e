"""Tests that attack what runs them, for ``test_hostile_suites.py``. Each stands in a test function and must not pass."""

from __future__ import annotations

_LOOP = "while True: "
ATTACKS: dict[str, str] = {
    # Forging: none of these may make the failing test pass.
    "exits with success": "os._exit(0)",
    "exits with success politely": "sys.exit(0)",
    "exits while it is imported": "",
    "exits at the end of the process": "import atexit; atexit.register(os._exit, 0); assert 0",
    "raises what ends pytest": "import pytest; pytest.exit('done', 0)",
    "kills its own process": "os.kill(os.getpid(), 9)",
    "kills its own group": "os.killpg(0, 9)",
    "kills what serves it": "os.kill(os.getppid(), 9); time.sleep(5)",
    "stops what serves it": "os.kill(os.getppid(), 19); assert 0",
    "kills all that it sees": "os.kill(-1, 9); assert 0",
    "aborts": "os.abort()",
    "breaks its memory": "import ctypes; ctypes.string_at(0)",
    "closes all descriptors": "os.closerange(0, 256); assert 0",
    "closes its report": "os.closerange(3, 64); assert 0",
    "replaces sys.modules": "sys.modules.clear(); assert 0",
    "replaces json": "import json; json.dumps = lambda *_: '{}'; assert 0",
    "replaces os.write": "os.write = lambda *_: 0; assert 0",
    "raises in repr": "assert type('A', (), {'__repr__': lambda self: 1 / 0})() == 1",
    "has a huge repr": "assert 'x' * (64 << 20) == 1",
    "has an endless repr": "assert type('A', (), {'__repr__': lambda self: next(iter(int, 1))})() == 1",
    "raises an exception without a text": "raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})()",
    "raises what is no error": "raise KeyboardInterrupt",
    "raises a generator's end": "raise GeneratorExit",
    # Exhaustion: each of these ends by a limit, and the next run is served.
    "hangs": "time.sleep(600)",
    "hangs in a loop": _LOOP + "pass",
    "ignores every signal": "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 10, 12, 15)]; time.sleep(600)",
    "stops itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "recurses": "sys.setrecursionlimit(10**9); f = lambda: f(); f()",
    "takes memory": "a = []\n    while True: a.append(bytearray(32 << 20))",
    "takes memory at once": "bytearray(1 << 42)",
    "floods its output": _LOOP + "os.write(1, b'x' * 65536)",
    "starts threads": "[threading.Thread(target=time.sleep, args=(60,), daemon=True).start() for _ in range(4000)]; assert 0",
    "leaves a process that holds everything open": "os.fork() or time.sleep(600); assert 0",
    "leaves a daemon": "if not os.fork():\n        os.setsid()\n        time.sleep(600)\n    assert 0",
    "fills its temporary folder": "f = open(os.path.join(os.environ['TMPDIR'], 'f'), 'wb')\n    while True: f.write(b'x' * (1 << 20))",
    # Reaching out: what is outside stays as it is.
    "writes outside": "open(OUTSIDE, 'w')",
    "deletes outside": "os.unlink(OUTSIDE)",
    "reads outside": "open(OUTSIDE).read()",
    "reads a home": "os.listdir(os.path.expanduser('~root')) and open('/root/.bashrc')",
    "phones home": "import socket; socket.create_connection(('127.0.0.1', PORT), 5)",
    "runs a shell": "assert os.system('true') == 0",
    "changes the server of the tests": "import suite_server.server as s; open(s.__file__, 'a')",
    "changes its interpreter": "open(os.__file__, 'a')",
    "changes the original": "open(ORIGINAL, 'a').write('x'); assert open(ORIGINAL).read().endswith('x') is False",
}  # fmt: skip


def file_with(name: str, outside: str, original: str, port: int) -> str:
    """Return a file with one hostile test, as pytest and unittest both run it."""
    head = f"import os, signal, sys, threading, time, unittest\nOUTSIDE, ORIGINAL, PORT = {outside!r}, {original!r}, {port}\n"
    if not ATTACKS[name]:
        return head + "os._exit(0)\n"
    body = ATTACKS[name].replace("\n", "\n    ")
    return f"{head}\nclass T(unittest.TestCase):\n    def test_hostile(self):\n        {body}\n"
