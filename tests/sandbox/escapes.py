"""Programs that try to get out. Each is right exactly if it got out, so none may ever pass; data only, like ``hostile.py``.

The one right outcome of nearly all is ``policy_denied``: a forbidden system call ends the program, a forbidden file raises.
"""

from __future__ import annotations

from mlx_selfdebug.sandbox.confinement.syscalls import this_machine
from tests.sandbox.hostile import ROOMY, Hostile

DENIED = "policy_denied"


def escape(name: str, body: str, outcome: str = DENIED) -> Hostile:
    """``body`` runs in the call; getting past it is the escape."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return Hostile(name, f"def square(x):\n{lines}\n    return x * x", outcome, limits=ROOMY)


_SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall({number}, *{arguments}) < 0:
    raise OSError(ctypes.get_errno(), "refused")
"""


def system_call(name: str, *arguments: int, outcome: str = DENIED) -> Hostile:
    machine = this_machine()
    number = machine.numbers.get(name, 9999) if machine else 9999
    return escape(f"system call {name}{arguments}", _SYSCALL.format(number=number, arguments=arguments), outcome)


READING = [
    escape("lists the home folder", "import os\nos.listdir(os.path.expanduser('~root'))", f"{DENIED}|raised"),
    escape("lists the root folder", "import os\nif len(os.listdir('/')) > 12: return x * x\nraise PermissionError(13, '')"),
    escape("reads the user's names", "open('/etc/passwd').read()", f"{DENIED}|raised"),
    escape("reads the harness", "import sys\nopen(sys.modules['mlx_selfdebug'].__file__).read()", f"{DENIED}|raised"),
    escape("reads the tests' data", "import glob, sysconfig\nopen(glob.glob('/**/HumanEval.jsonl.gz', recursive=True)[0], 'rb').read()",
           f"{DENIED}|raised"),
    escape("reads the environment", "open('/proc/self/environ').read()", f"{DENIED}|raised"),
    escape("reads the parent's environment", "import os\nopen(f'/proc/{os.getppid()}/environ').read()", f"{DENIED}|raised"),
    escape("reads the parent's memory", "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb').read(1)", f"{DENIED}|raised"),
    escape("reads its own memory map", "open('/proc/self/maps').read()", f"{DENIED}|raised"),
    escape("finds a secret in the environment", "import os\nassert set(os.environ) - {'PYTHONHASHSEED', 'OMP_NUM_THREADS', "
           "'OPENBLAS_NUM_THREADS', 'MALLOC_ARENA_MAX', 'PYTHONUTF8', 'LC_ALL', 'HOME'}", "raised"),
    escape("finds another descriptor", "import os\nfor fd in range(4, 1024):\n  try: os.fstat(fd)\n  except OSError: continue\n"
           "  return x * x\nraise ValueError", "raised"),
    escape("reads a descriptor of the standard ones", "import os\nassert os.read(0, 1)", "raised"),
    escape("opens the terminal", "open('/dev/tty')", f"{DENIED}|raised"),
    escape("climbs out with chroot", "import os\nos.chroot('..')"),
]  # fmt: skip

WRITING = [
    escape("writes in its folder", "open('written', 'w').write('x')", f"{DENIED}|raised"),
    escape("writes in /tmp", "open('/tmp/selfdebug-escape', 'w').write('x')", f"{DENIED}|raised"),
    escape("writes in shared memory", "open('/dev/shm/selfdebug-escape', 'w').write('x')", f"{DENIED}|raised"),
    escape("leaves an empty file for the harness", "open('conftest.py', 'x').close()", f"{DENIED}|raised"),
    escape("leaves an unnamed file", "import os\nos.open('/tmp', os.O_TMPFILE | os.O_RDWR)", f"{DENIED}|raised"),
    escape("appends to a module of the library", "import os\nopen(os.__file__, 'a').close()", f"{DENIED}|raised"),
    escape("empties a module of the library", "import os\nos.truncate(os.__file__, 0)", f"{DENIED}|raised"),
    escape("deletes a module of the library", "import os\nos.unlink(os.__file__)", f"{DENIED}|raised"),
    escape("renames a module of the library", "import os\nos.rename(os.__file__, os.__file__ + 'x')", f"{DENIED}|raised"),
    escape("makes a folder", "import os\nos.mkdir('/tmp/selfdebug-escape')", f"{DENIED}|raised"),
    escape("makes a symbolic link", "import os\nos.symlink('/etc', '/tmp/selfdebug-escape')", f"{DENIED}|raised"),
    escape("makes a hard link", "import os\nos.link(os.__file__, '/tmp/selfdebug-escape')", f"{DENIED}|raised"),
    escape("makes a pipe in a folder", "import os\nos.mkfifo('/tmp/selfdebug-escape')"),
    escape("makes a device", "import os\nos.mknod('/tmp/selfdebug-escape', 0o20666, os.makedev(1, 1))"),
    escape("changes a mode", "import os\nos.chmod(os.__file__, 0o777)"),
    escape("changes a mode by descriptor", "import os\nos.fchmod(os.open(os.__file__, os.O_RDONLY), 0o777)"),
    escape("changes an owner", "import os\nos.chown(os.__file__, 1, 1)"),
    escape("changes a time", "import os\nos.utime(os.__file__)"),
    escape("sets an attribute", "import os\nos.setxattr(os.__file__, 'user.x', b'x')"),
    escape("makes a file in memory", "import os\nos.write(os.memfd_create('x'), b'x')", f"{DENIED}|raised|crashed"),
    escape("flushes a database to disk", "import sqlite3\nsqlite3.connect('/tmp/selfdebug-escape').execute('create table t (x)')",
           "raised"),
]  # fmt: skip

PROCESSES = [
    escape("forks", "import os\nif os.fork() == 0: os._exit(0)"),
    # Six generations, since with the layer off that stops it nothing else would, and a machine out of processes ends the tests too.
    escape("forks and forks again", "import os\nfor _ in range(6): os.fork()"),
    escape("forks in C", "import ctypes\nif ctypes.CDLL(None).fork() == 0: ctypes.CDLL(None)._exit(0)"),
    escape("starts a terminal", "import pty\nif pty.fork()[0] == 0:\n  import os\n  os._exit(0)", f"{DENIED}|raised"),
    escape("runs a shell", "import os\nos.system('true')"),
    escape("runs a program", "import subprocess\nsubprocess.run(['/bin/true'])"),
    escape("runs python", "import subprocess, sys\nsubprocess.run([sys.executable, '-V'])"),
    escape("spawns", "import os\nos.posix_spawn('/bin/true', ['true'], {})"),
    escape("becomes another program", "import os\nos.execv('/bin/true', ['true'])"),
    escape("uses worker processes", "import multiprocessing as m\nprocess = m.get_context('fork').Process(target=print)\n"
           "process.start(); process.join()"),
    escape("kills its parent", "import os\nos.kill(os.getppid() or 1, 9)"),
    escape("stops its parent", "import os, signal\nos.kill(os.getppid() or 1, signal.SIGSTOP)"),
    escape("kills the first process", "import os\nos.kill(1, 9)"),
    escape("kills everything", "import os\nos.kill(-1, 9)"),
    escape("kills its group", "import os\nos.killpg(0, 9)"),
    escape("kills its neighbours", "import os\nfor pid in range(2, 99):\n  if pid != os.getpid(): os.kill(pid, 9)"),
    escape("stops its group", "import os, signal\nos.killpg(os.getpgid(0), signal.SIGSTOP)"),
    escape("queues a signal to its parent", "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid() or 1), 9)"),
    escape("leaves its session", "import os\nos.setsid()"),
    escape("leaves its group", "import os\nos.setpgid(0, 0)"),
    escape("becomes root", "import os\nos.setuid(0)\nopen('/etc/shadow').read()", f"{DENIED}|raised"),
    escape("raises its limits", "import resource as r\nr.setrlimit(r.RLIMIT_NOFILE, (4096, 4096))", f"{DENIED}|raised"),
    escape("raises its limit on processor time", "import resource as r\nr.setrlimit(r.RLIMIT_CPU, (-1, -1))", f"{DENIED}|raised"),
    escape("raises the limits of its parent", "import os, resource as r\nr.prlimit(os.getppid() or 1, r.RLIMIT_CPU, (1, 1))",
           f"{DENIED}|raised"),
    escape("survives its parent", "import ctypes\nif ctypes.CDLL(None).prctl(1, 0, 0, 0, 0): raise PermissionError(1, 'refused')"),
    escape("makes itself readable", "import ctypes\nif ctypes.CDLL(None).prctl(4, 1, 0, 0, 0): raise PermissionError(1, 'refused')"),
    system_call("ptrace", 16, 1, 0, 0),
    system_call("process_vm_readv", 1, 0, 0, 0, 0, 0),
    system_call("process_vm_writev", 1, 0, 0, 0, 0, 0),
    system_call("pidfd_getfd", 0, 0, 0),
    system_call("kcmp", 1, 1, 0, 0, 0),
    system_call("unshare", 0x10000000),
    system_call("setns", 0, 0),
    system_call("mount", 0, 0, 0, 0, 0),
    system_call("bpf", 0, 0, 0),
    system_call("perf_event_open", 0, 0, 0, 0, 0),
    system_call("io_uring_setup", 1, 0),
    system_call("keyctl", 0, 0, 0),
    system_call("userfaultfd", 0),
    system_call("shmget", 0, 4096, 0o1600),
    system_call("msgget", 0, 0o1600),
    system_call("open_by_handle_at", 0, 0, 0),
    system_call("init_module", 0, 0, 0),
    system_call("reboot", 0, 0, 0),
]  # fmt: skip

NETWORK = [
    escape("connects by TCP", "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)"),
    escape("listens by TCP", "import socket\nsocket.create_server(('127.0.0.1', 0))"),
    escape("sends by UDP", "import socket\nsocket.socket(2, 2).sendto(b'x', ('127.0.0.1', 53))"),
    escape("connects by IPv6", "import socket\nsocket.socket(socket.AF_INET6).connect(('::1', 22))"),
    escape("opens a local socket", "import socket\nsocket.socket(socket.AF_UNIX).connect('/run/systemd/notify')"),
    escape("opens an abstract socket", "import socket\nsocket.socket(socket.AF_UNIX).bind('\\0selfdebug')"),
    escape("sends datagrams over a pair", "import socket\nsocket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b'x', '/dev/log')"),
    escape("opens a raw socket", "import socket\nsocket.socket(2, 3, 1)"),
    escape("opens a netlink socket", "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    escape("opens a virtual machine's socket", "import socket\nsocket.socket(socket.AF_VSOCK)"),
    escape("asks a name server", "import socket\nsocket.getaddrinfo('example.org', 80)", f"{DENIED}|raised"),
    escape("fetches a page", "import urllib.request\nurllib.request.urlopen('http://127.0.0.1/', timeout=1)"),
]  # fmt: skip

ESCAPES = [*READING, *WRITING, *PROCESSES, *NETWORK]
