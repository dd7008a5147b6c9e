"""What a hostile program may try, and which layers stop it, each of them alone. Data only.

The probe works when nothing is in force (that is tested), and must not as soon as one of its layers is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NAMESPACES, CAPABILITIES, LANDLOCK, SECCOMP = "namespaces", "capabilities", "landlock", "seccomp"

_CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    value = libc.syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if value < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return value
"""


@dataclass(frozen=True)
class Probe:
    name: str
    source: str = field(repr=False)
    stopped_by: frozenset[str]


def _probe(name: str, source: str, *layers: str) -> Probe:
    return Probe(name, source, frozenset(layers))


def _call(name: str, arguments: str, *layers: str) -> Probe:
    """By number, the x86-64 one."""
    return Probe(name, f"{_CALL}\ncall({arguments})", frozenset(layers))


FILES = [
    _probe("read a file", "result = open(FOLDER + '/canary').read()", NAMESPACES, LANDLOCK),
    _probe("read the users", "open('/etc/passwd').read()", NAMESPACES, LANDLOCK),
    _probe("read another package", "open(SITE + '/README.txt').read()", NAMESPACES, LANDLOCK),
    _probe("read its own memory map", "open('/proc/self/maps').read()", NAMESPACES, LANDLOCK),
    _probe("read the environment", "open(f'/proc/{ZYGOTE}/environ','rb').read()", NAMESPACES, LANDLOCK, CAPABILITIES),
    _probe("list the root", "import os; assert 'tmp' in os.listdir('/')", NAMESPACES, LANDLOCK),
    _probe("list a folder", "import os; os.listdir(FOLDER)", NAMESPACES, LANDLOCK),
    _probe("list other packages", "import os; assert os.listdir(SITE)", NAMESPACES),
    _probe("stat a file", "import os; os.stat(FOLDER + '/canary')", NAMESPACES),
    _probe("make a file", "open(FOLDER + '/new', 'w')", NAMESPACES, LANDLOCK),
    _probe("change a file", "open(FOLDER + '/victim', 'r+').write('x')", NAMESPACES, LANDLOCK),
    _probe("append to a file", "open(FOLDER + '/victim', 'a').write('x')", NAMESPACES, LANDLOCK),
    _probe("truncate a file", "import os; os.truncate(FOLDER + '/victim', 1)", NAMESPACES, LANDLOCK, SECCOMP),
    _probe(
        "truncate by reading",
        "import os; os.open(FOLDER + '/victim', os.O_RDONLY | os.O_TRUNC)",
        NAMESPACES,
        LANDLOCK,
        SECCOMP,
    ),
    _probe("change the library", "open(STDLIB + '/this.py', 'r+')", NAMESPACES, LANDLOCK),
    _probe("make a folder", "import os; d = FOLDER + '/d'; os.mkdir(d); os.rmdir(d)", NAMESPACES, LANDLOCK, SECCOMP),
    _probe(
        "link a file",
        "import os; os.link(FOLDER + '/canary', FOLDER + '/l'); os.unlink(FOLDER + '/l')",
        NAMESPACES,
        LANDLOCK,
        SECCOMP,
    ),
    _probe(
        "make a symbolic link",
        "import os; os.symlink('/', FOLDER + '/s'); os.unlink(FOLDER + '/s')",
        NAMESPACES,
        LANDLOCK,
        SECCOMP,
    ),
    _probe(
        "rename a file",
        "import os; os.rename(FOLDER + '/victim', FOLDER + '/v'); os.rename(FOLDER + '/v', FOLDER + '/victim')",
        NAMESPACES,
        LANDLOCK,
        SECCOMP,
    ),
    _probe(
        "remove a file", "import os; open(FOLDER + '/r', 'w'); os.unlink(FOLDER + '/r')", NAMESPACES, LANDLOCK, SECCOMP
    ),
    _probe(
        "make a pipe in a folder",
        "import os; os.mkfifo(FOLDER + '/p'); os.unlink(FOLDER + '/p')",
        NAMESPACES,
        LANDLOCK,
        SECCOMP,
    ),
    _probe("chmod", "import os; os.chmod(FOLDER + '/canary', 0o666)", NAMESPACES, SECCOMP),
    _probe("chown", "import os; os.chown(FOLDER + '/canary', -1, -1)", NAMESPACES, SECCOMP),
    _probe("utime", "import os; os.utime(FOLDER + '/canary')", NAMESPACES, SECCOMP),
    _probe("xattr", "import os; os.setxattr(FOLDER + '/canary', 'user.x', b'1')", NAMESPACES, SECCOMP),
    _probe("write through a device's folder", "open('/dev/shm/selfdebug', 'w')", NAMESPACES, LANDLOCK),
]

_SOCKET = "import socket; s = socket.socket(socket.{}, socket.{}); "
_INET, _UNIX = _SOCKET.format("AF_INET", "SOCK_STREAM"), _SOCKET.format("AF_UNIX", "SOCK_STREAM")
NETWORK = [
    _probe("connect by TCP", _INET + "s.connect(('127.0.0.1', PORT))", NAMESPACES, LANDLOCK, SECCOMP),
    _probe("listen by TCP", _INET + "s.bind(('127.0.0.1', 0)); s.listen()", LANDLOCK, SECCOMP),
    _probe(
        "send by UDP",
        _SOCKET.format("AF_INET", "SOCK_DGRAM") + "s.sendto(b'x', ('127.0.0.1', PORT))",
        NAMESPACES,
        SECCOMP,
    ),
    _probe("send by IPv6", _SOCKET.format("AF_INET6", "SOCK_DGRAM"), SECCOMP),
    _probe("connect to a unix socket", _UNIX + "s.connect(FOLDER + '/socket')", NAMESPACES, SECCOMP),
    _probe("connect to an abstract socket", _UNIX + "s.connect(ABSTRACT)", NAMESPACES, LANDLOCK, SECCOMP),
    _probe("netlink", _SOCKET.format("AF_NETLINK", "SOCK_RAW"), SECCOMP),
    _probe("raw packets", _SOCKET.format("AF_INET", "SOCK_RAW, 1"), NAMESPACES, CAPABILITIES, SECCOMP),
    _probe("a pair for datagrams", "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)", SECCOMP),
]

PROCESSES = [
    _probe("fork", "import os\nif not os.fork(): os._exit(0)\nos.wait()", SECCOMP),
    _probe(
        "spawn", "import os; os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)", NAMESPACES, LANDLOCK, SECCOMP
    ),
    _probe("vfork", "import subprocess; subprocess.run(['/bin/true'])", NAMESPACES, LANDLOCK, SECCOMP),
    _probe("new session", "import os; os.setsid()", SECCOMP),
    _probe("new group", "import os; os.setpgid(0, 0)", SECCOMP),
    _probe("signal the zygote", "import os; os.kill(ZYGOTE, 18)", LANDLOCK, SECCOMP),
    _probe("signal the grader", "import os; os.kill(GRADER, 9)", LANDLOCK, SECCOMP),
    _probe("signal a process outside", "import os; os.kill(OUTSIDER, 0)", NAMESPACES, LANDLOCK, SECCOMP),
    _probe("signal its group", "import os; os.kill(0, 0)", SECCOMP),
    _probe("signal everything", "import os; os.kill(-1, 0)", SECCOMP),
    _probe(
        "signal by descriptor",
        "import os, signal; signal.pidfd_send_signal(os.pidfd_open(GRADER), 9)",
        LANDLOCK,
        SECCOMP,
    ),
    _probe(
        "signal by a descriptor's owner",
        "import fcntl, os; r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, GRADER); assert fcntl.fcntl(r, fcntl.F_GETOWN) == GRADER",
        SECCOMP,
    ),
    _probe("slow others down", "import os; os.setpriority(os.PRIO_PROCESS, GRADER, 19)", SECCOMP),
    _probe("move others", "import os; os.sched_setaffinity(GRADER, {0})", SECCOMP),
    _probe("raise its limits", "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, 64))", SECCOMP),
    _probe("limit others", "import resource as r; r.prlimit(GRADER, r.RLIMIT_NOFILE, (64, 64))", SECCOMP),
    _call("trace", "101, 16, GRADER, 0, 0", CAPABILITIES, LANDLOCK, SECCOMP),
    _call("outlive the zygote", "157, 1, 0, 0, 0, 0", SECCOMP),
    _call("become dumpable", "157, 4, 1, 0, 0, 0", SECCOMP),
    _probe(
        "read another's memory",
        _CALL
        + "b = ctypes.create_string_buffer(8); v = (ctypes.c_size_t * 2)(ctypes.addressof(b), 8)\ncall(310, GRADER, v, 1, v, 1, 0)",
        CAPABILITIES,
        LANDLOCK,
        SECCOMP,
    ),
]

KERNEL = [
    _call("new user namespace", "272, 0x10000000", SECCOMP),
    _call("new mount namespace", "272, 0x20000", CAPABILITIES, SECCOMP),
    _call("mount", "165, b'none', b'/', 0, 0x44000, 0", NAMESPACES, CAPABILITIES, LANDLOCK, SECCOMP),
    _probe("change root", "import os; os.chroot(STDLIB)", CAPABILITIES, SECCOMP),
    _call("executable memory file", "319, b'x', 0", SECCOMP),
    _probe("io_uring", _CALL + "p = ctypes.create_string_buffer(120); call(425, 1, p)", SECCOMP),
    _call("asynchronous reading", "206, 1, ctypes.byref(ctypes.c_long())", SECCOMP),
    _call("key ring", "250, 0, -3, 0", SECCOMP),
    _call("shared memory", "29, 0, 4096, 0o1600", SECCOMP),
    _call("personality", "135, 0xffffffff", SECCOMP),
    _call("watch a folder", "253", SECCOMP),
    _call("a call newer than the table", "465, -100, b'/', 0, 0, 0", SECCOMP),
    _probe(
        "the 32-bit machine",
        "import ctypes, mmap; m = mmap.mmap(-1, 4096, prot=7); m.write(bytes.fromhex('b814000000cd80c3'))\n"
        "assert ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))() > 0",
        SECCOMP,
    ),
]

ALL = [*FILES, *NETWORK, *PROCESSES, *KERNEL]

HARMLESS = {
    "stdlib": "import json, sqlite3, ctypes, decimal, lzma, unittest.mock, hashlib; sqlite3.connect(':memory:').execute('select 1')",
    "threads": "import threading; t = [threading.Thread(target=sum, args=([1],)) for _ in range(20)]\n"
    "for x in t: x.start()\nfor x in t: x.join()",
    "thread pool": "from concurrent.futures import ThreadPoolExecutor as P; result = sum(P(4).map(abs, range(9)))",
    "time zones": "import zoneinfo, datetime as d; d.datetime.now(zoneinfo.ZoneInfo('Europe/Berlin')); import time; time.localtime()",
    "random": "import os, random, secrets; os.urandom(8); random.SystemRandom().random(); open('/dev/urandom','rb').read(4)",
    "asyncio": "import asyncio; result = asyncio.run(asyncio.sleep(0.001, 5))",
    "recursion": "import sys; sys.setrecursionlimit(9000)\ndef f(n): return n and 1 + f(n - 1)\nresult = f(8000)",
    "memory": "import mmap; m = mmap.mmap(-1, 1 << 20); m[0] = 1; x = bytearray(50_000_000)",
    "a signal to itself": "import os, signal; signal.signal(10, lambda *_: None); os.kill(os.getpid(), 10); signal.raise_signal(10)",
    "an alarm": "import signal; signal.signal(14, lambda *_: None); signal.setitimer(0, 0.01); signal.pause()",
    "callbacks": "import ctypes; f = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7); assert f() == 7",
    "null device": "open('/dev/null', 'w').write('x'); open('/dev/null', 'a').write('x'); open('/dev/zero','rb').read(1)",
    "home": "import os, pathlib; os.path.expanduser('~root'); os.cpu_count(); os.sched_getaffinity(0)",
    "locale": "import locale; locale.setlocale(locale.LC_ALL, 'C.UTF-8')",
    "pipes": "import os, select; r, w = os.pipe(); os.write(w, b'x'); select.select([r], [], []); os.set_blocking(r, False); os.isatty(r)",
    "system": "import platform, sys; platform.system(); platform.machine(); platform.python_version(); import os; os.getpid(); os.uname()",
    "its own priority": "import os; os.sched_setaffinity(0, os.sched_getaffinity(0))",
    "thread names": "import ctypes; assert ctypes.CDLL(None).prctl(15, b'name', 0, 0, 0) == 0",
    "reading limits": "import resource; resource.getrlimit(resource.RLIMIT_CPU); resource.prlimit(0, resource.RLIMIT_CPU)",
}
