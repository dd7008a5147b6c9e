"""Programs and suites that a hostile project may bring, each with the way in which it has to end. Data only.

An attempt reaches its end exactly if it gets out, so none may. What a program does shows outside. ``x`` holds what there is to reach
there (see ``running.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mlx_selfdebug.sandbox import CommandLimits

ROOMY = CommandLimits(
    wall_s=120,
    cpu_s=120,
    memory_bytes=192 << 20,
    processes=48,
    output_bytes=1 << 20,
    disk_bytes=6 << 20,
    files=400,
    temporary_bytes=6 << 20,
)
QUICK = replace(ROOMY, wall_s=0.5)


@dataclass(frozen=True)
class Hostile:
    name: str
    source: str = field(repr=False)
    endings: frozenset[str] = frozenset({"exited"})
    limits: CommandLimits = ROOMY


def attempt(name: str, body: str, *endings: str) -> Hostile:
    """Getting past the body is the escape."""
    return Hostile(name, body.strip(), frozenset(endings or {"exited"}))


def program(name: str, body: str, *endings: str, limits: CommandLimits = ROOMY) -> Hostile:
    """Getting out is noticed outside."""
    return Hostile(name, body, frozenset(endings or {"exited"}), limits)


_CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall({number}, *{arguments}) < 0:
    raise OSError(ctypes.get_errno(), 'refused')
"""


def system_call(name: str, number: int, *arguments: int, ending: str) -> Hostile:
    """By its number on x86-64. Numbers from 424 on are the same everywhere."""
    return attempt(f"system call {name}", _CALL.format(number=number, arguments=arguments), ending)


_FIND_DESCRIPTORS = """
found = []
for fd in range(3, 256):
    try: os.fstat(fd)
    except OSError: continue
    found.append(fd)
assert found
"""
READING = [
    attempt("reads a key in a home folder", "open(x['home'] + '/.ssh/id_ed25519').read()"),
    attempt("lists a home folder", "os.listdir(x['home'])"),
    attempt("reads the users", "open('/etc/passwd').read()"),
    attempt("reads the passwords", "open('/etc/shadow').read()"),
    attempt("finds a secret in its environment", "assert 'selfdebug-secret' in str(os.environ)"),
    attempt("reads the environment of a process outside", "open(f\"/proc/{x['pid']}/environ\").read()"),
    attempt("reads the memory of a process outside", "open(f\"/proc/{x['pid']}/mem\", 'rb').read(1)"),
    attempt("reads the memory of what keeps it", "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)"),
    attempt("finds a descriptor that was left open", _FIND_DESCRIPTORS),
    attempt("waits for a word on its input", "assert sys.stdin.read(1)"),
    attempt("climbs out by the names of folders", "open('../' * 40 + x['canary'][1:]).read()"),
    attempt("reads through a link", "os.symlink(x['canary'], 'link'); open('link').read()"),
    attempt("lists through a link", "os.symlink(x['outside'], 'link'); os.listdir('link')"),
    attempt("reads the disk", "open('/dev/' + next(n for n in ('vda', 'sda', 'nvme0n1')), 'rb').read(1)"),
    attempt("reads the kernel's log", "open('/dev/kmsg').read(1)"),
    attempt("opens the terminal", "open('/dev/tty')"),
    attempt("opens the processes of the machine", "assert len([name for name in os.listdir('/proc') if name.isdigit()]) > 3"),
]  # fmt: skip

WRITING = [
    attempt("writes a file outside", "open(x['outside'] + '/written', 'w').write('x')"),
    attempt("appends to a file outside", "open(x['victim'], 'a').write('x')"),
    attempt("empties a file outside", "os.truncate(x['victim'], 0)"),
    attempt("empties a file outside by reading", "os.open(x['victim'], os.O_RDONLY | os.O_TRUNC)"),
    attempt("deletes a file outside", "os.unlink(x['victim'])"),
    attempt("moves a file outside into its folder", "os.rename(x['victim'], 'mine')"),
    attempt("moves a file of its own outside", "open('mine', 'w'); os.rename('mine', x['outside'] + '/written')"),
    attempt("links a file outside into its folder", "os.link(x['victim'], 'mine')"),
    attempt("writes through a link", "os.symlink(x['victim'], 'link'); open('link', 'w').write('x')"),
    attempt("writes through a link to a folder", "os.symlink(x['outside'], 'link'); open('link/written', 'w').write('x')"),
    attempt("moves its folder away", "os.rename(x['folder'], x['folder'] + '-away')"),
    attempt("makes a folder outside", "os.mkdir(x['outside'] + '/written')"),
    attempt("changes a mode outside", "os.chmod(x['victim'], 0o600)"),
    attempt("changes an owner outside", "os.chown(x['victim'], os.getuid(), os.getgid())"),
    attempt("changes a time outside", "os.utime(x['victim'], (1, 1))"),
    attempt("sets an attribute outside", "os.setxattr(x['victim'], 'user.x', b'x')"),
    attempt("deletes the original project", "shutil.rmtree(x['project'])"),
    attempt("changes the library of its interpreter", "open(os.__file__, 'a').close()"),
    attempt("deletes a module of its interpreter", "os.unlink(os.__file__)"),
    attempt("leaves a module beside the library", "open(os.path.dirname(os.__file__) + '/sitecustomize.py', 'w')"),
    attempt("makes a device", "os.mknod('device', 0o20666, os.makedev(1, 1))"),
    attempt("makes a program that runs as its owner", "open('mine', 'w'); os.chmod('mine', 0o4755)"),
    attempt("makes such a program at once", "os.close(os.open('mine', os.O_CREAT | os.O_WRONLY, 0o6755))"),
    attempt("writes in the settings of the kernel", "open('/proc/sys/kernel/core_pattern', 'w').write('|/bin/sh')"),
    attempt("writes in the list of its own processes", "open('/proc/self/oom_score_adj', 'w').write('-1000')"),
    attempt("changes the root", "os.chroot('.')", "policy"),
    attempt("leaves a file for other users", "open('/dev/shm/../../tmp/selfdebug-left', 'w')"),
]  # fmt: skip

NETWORK = [
    attempt("connects by TCP", "import socket; socket.create_connection(('127.0.0.1', x['tcp']), 5)"),
    attempt("listens by TCP", "import socket; socket.create_server(('127.0.0.1', 0))"),
    attempt("sends by UDP", "import socket; socket.socket(2, 2).sendto(b'x', ('127.0.0.1', x['udp']))"),
    attempt("connects by IPv6", "import socket; socket.socket(socket.AF_INET6).connect(('::1', x['tcp']))"),
    attempt("connects to a local socket", "import socket; socket.socket(socket.AF_UNIX).connect(x['unix'])"),
    attempt("connects to an abstract socket", "import socket; socket.socket(socket.AF_UNIX).connect('\\0' + x['abstract'])"),
    attempt("sends datagrams over a pair", "import socket; socket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b'x', x['unix'])"),
    attempt("opens a raw socket", "import socket; socket.socket(2, 3, 1)"),
    attempt("opens a netlink socket", "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    attempt("asks a name server", "import socket; socket.getaddrinfo('example.org', 80)"),
    attempt("fetches a page", "import urllib.request as r; r.urlopen(f\"http://127.0.0.1:{x['tcp']}/\", timeout=5)"),
]  # fmt: skip

_DAEMON = """
import fcntl, signal, time
held = open('held', 'w')
fcntl.flock(held, fcntl.LOCK_EX)
if not os.fork():
    os.setsid()
    if not os.fork():
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        time.sleep(600)
    os._exit(0)
"""
_COPIED = "shutil.copy(sys.executable, 'made')\n"
PROCESSES = [
    attempt("signals a process outside", "os.kill(x['pid'], 0)"),
    attempt("limits what keeps it", "import resource as r; r.prlimit(os.getppid(), r.RLIMIT_CPU, (1, 1))"),
    attempt("slows down what keeps it", "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)"),
    attempt("moves what keeps it", "os.sched_setaffinity(os.getppid(), {0})"),
    attempt("raises its own limits", "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (-1, -1))"),
    attempt("runs a shell", "assert os.system('true') == 0"),
    attempt("runs a program of the system", "import subprocess; subprocess.run(['/usr/bin/env'])"),
    attempt("becomes a program of the system", "os.execv('/bin/sh', ['sh', '-c', 'echo ESCAPED'])"),
    attempt("runs a copy of its interpreter", _COPIED + "import subprocess; subprocess.run(['./made', '-S', '-c', ''], check=True)"),
    attempt("runs a copy by way of the loader", _COPIED + "import glob, subprocess; loader = glob.glob('/lib*/ld-linux*')[0]; "
            "subprocess.run([loader, './made', '-S', '-c', ''], check=True)"),
    attempt("runs a script that it wrote", "open('made', 'w').write('#!' + sys.executable); os.chmod('made', 0o755)\n"
            "import subprocess; subprocess.run(['./made'], check=True)"),
    attempt("loads a library that it wrote", "import ctypes, glob, _ctypes; shutil.copy(_ctypes.__file__, 'made.so'); ctypes.CDLL('./made.so')"),
    attempt("runs a program in memory", "fd = os.memfd_create('x'); os.execve(fd, ['x'], {})"),
    attempt("makes a terminal", "import pty; pty.fork()"),
    system_call("ptrace", 101, 16, 1, 0, 0, ending="policy"),
    system_call("process_vm_readv", 310, 1, 0, 0, 0, 0, 0, ending="policy"),
    system_call("unshare", 272, 0x10000000, ending="policy"),
    system_call("clone into a namespace", 56, 0x10000011, 0, 0, 0, 0, ending="policy"),
    system_call("mount", 165, 0, 0, 0, 0, 0, ending="policy"),
    system_call("open_tree", 428, 0, 0, 0, ending="policy"),
    system_call("bpf", 321, 0, 0, 0, ending="policy"),
    system_call("init_module", 175, 0, 0, 0, ending="policy"),
    system_call("reboot", 169, 0, 0, 0, ending="policy"),
    system_call("pidfd_getfd", 438, 0, 0, 0, ending="policy"),
    system_call("open_by_handle_at", 304, 0, 0, 0, ending="policy"),
    system_call("io_uring_setup", 425, 1, 0, ending="exited"),
    system_call("keyctl", 250, 0, -3, 1, ending="exited"),
    system_call("perf_event_open", 298, 0, 0, 0, 0, 0, ending="exited"),
    system_call("userfaultfd", 323, 1, ending="exited"),
    system_call("shmget", 29, 0, 4096, 0o1600, ending="exited"),
]  # fmt: skip
FAMILIES = [
    program("kills what keeps it", "os.kill(os.getppid(), 9); os.kill(os.getppid(), 15); import time; time.sleep(0.2)"),
    program("stops what keeps it", "import signal, time; os.kill(os.getppid(), signal.SIGSTOP); time.sleep(0.2)"),
    program("kills everything that it sees", "os.kill(-1, 9); import time; time.sleep(0.2)", "exited", "killed"),
    program("kills its own group", "os.killpg(0, 9)", "killed"),
    program("leaves a daemon behind", _DAEMON),
    program("leaves a daemon that holds its output", _DAEMON + "\nprint('going')"),
    program("hides in a group of its own", "os.setsid() if os.getpgid(0) != os.getpid() else None\n" + _DAEMON),
]  # fmt: skip

_CHILD_EACH = (
    "import time\nfor _ in range({count}):\n  if not os.fork():\n    {body}\n    time.sleep(600)\ntime.sleep(600)"
)
EXHAUSTION = [
    program("forks and forks again", "import time\nfor _ in range(7): os.fork()\ntime.sleep(600)", "processes", "exited"),
    program("starts many children", _CHILD_EACH.format(count=120, body="pass"), "processes", "exited"),
    program("starts many threads", "import threading, time\nthreading.stack_size(1 << 16)\n"
            "for _ in range(120): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\ntime.sleep(600)",
            "processes", "exited"),
    program("leaves many dead children", "import time\nfor _ in range(120):\n  if not os.fork(): os._exit(0)\ntime.sleep(600)",
            "processes", "exited"),
    program("hangs", "import time; time.sleep(600)", "timed_out", limits=QUICK),
    program("hangs in a loop", "while True: pass", "timed_out", limits=QUICK),
    program("hangs and ignores every signal", "import signal, time\nfor number in range(1, 65):\n"
            "  try: signal.signal(number, signal.SIG_IGN)\n  except (OSError, ValueError): pass\nwhile True: time.sleep(1)",
            "timed_out", limits=QUICK),
    program("stops itself", "import signal; os.kill(os.getpid(), signal.SIGSTOP)", "timed_out", limits=QUICK),
    program("waits for a child that hangs", "import subprocess; subprocess.run([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])",
            "timed_out", limits=QUICK),
    program("uses up processor time in one process", "while True: pass", "timed_out", limits=replace(ROOMY, cpu_s=1)),
    program("uses up processor time in several", "for _ in range(3): os.fork()\nwhile True: pass", "timed_out", limits=replace(ROOMY, cpu_s=1)),
    program("takes memory by growing", "a = []\nwhile True: a.append(bytearray(1 << 20))", "memory", "exited"),
    program("takes memory in one block", "a = bytearray(1 << 40)", "exited"),
    program("takes memory that it shares", "import mmap\nm = mmap.mmap(-1, 1 << 30)\nwhile True: m.write(b'x' * (1 << 20))", "memory"),
    program("takes memory in many children", _CHILD_EACH.format(count=8, body="a = os.urandom(48 << 20)"), "memory"),
    program("fills its folder", "n = 0\nwhile True:\n  open(f'f{n}', 'wb').write(b'x' * (1 << 20)); n += 1", "disk"),
    program("fills one file", "f = open('f', 'wb')\nwhile True: f.write(b'x' * (1 << 20))", "exited", "disk"),
    program("makes many files", "n = 0\nwhile True:\n  open(f'f{n}', 'w').close(); n += 1", "disk"),
    program("nests many folders", "while True: os.mkdir('d'); os.chdir('d')", "disk"),
    program("fills its temporary folder", "import tempfile\nwhile True: open(tempfile.mktemp(), 'wb').write(b'x' * (1 << 20))", "exited"),
    program("fills the shared memory", "n = 0\nwhile True:\n  open(f'/dev/shm/f{n}', 'wb').write(b'x' * (4 << 20)); n += 1", "exited"),
    program("floods its output", "while True: os.write(1, b'x' * 65536)", "output"),
    program("floods its error output", "while True: os.write(2, b'x' * 65536)", "output"),
    program("floods its output in a child", "import time\nif not os.fork():\n  while True: os.write(1, b'x' * 65536)\ntime.sleep(600)", "output"),
    program("takes all descriptors", "while True: os.dup(1)", "exited"),
    program("recurses without a limit", "sys.setrecursionlimit(1 << 30)\nf = lambda: f()\nf()", "killed", "exited", "memory"),
    program("aborts", "os.abort()", "killed"),
    program("closes all its descriptors", "os.closerange(0, 1024)", "exited"),
]  # fmt: skip

_TEST = "def test_it(): assert False\n"
SUITES = {
    "deletes its tests": "import os\nos.unlink(__file__)\n" + _TEST,
    "patches sys.exit": "import sys\nsys.exit = lambda *_: None\n" + _TEST,
    "leaves at once": "import os\nos._exit(0)\n",
    "rewrites pytest's report": "import _pytest.reports as r\nr.TestReport.failed = False\nr.TestReport.passed = True\n"
    + _TEST,
    "kills its parent": "import os\nos.kill(os.getppid(), 9)\n" + _TEST,
    "replaces pytest": "import _pytest, pathlib\npathlib.Path(_pytest.__file__).write_text('')\nprint('REPLACED')\n",
}
"""Suites for pytest. Whether a verdict may rest on what they make pytest say is another question."""

ATTEMPTS = [*READING, *WRITING, *NETWORK, *PROCESSES]
PROGRAMS = [*FAMILIES, *EXHAUSTION]
