"""Write the profile for ``sandbox-exec`` that says what a zygote on macOS may do, and the command that starts it there.

    argv = command(layout, [layout.executable, "-S", "-s", "-P", "-B", "-c", BOOT], executables=[])
    ...                                                     # if it ended before it was ready:
    message = start_failure(status, stderr, layout.executable)

This module only writes text, so nothing in it needs a Mac. The profile is in force from the zygote's first instruction, so the
zygote can read none of the runner's files: its program must come over the channel or with ``-c``, and its working folder must be
``/``.

The order of the rules follows Apple's compiler (``sbpl_1_prelude.scm``). For an operation, it asks these rules until one applies:

1. the rules for the operation itself that have filters, the latest first;
2. the rule for the operation itself that has no filter, wherever it stands;
3. the rules of both kinds for the wildcard to which the operation belongs, in the same order.

So a rule of Apple's ``system.sb`` for ``file-write-data`` outlives a later denial of ``file-write*``, and an exception must name
the same operations as the denial. That is why the groups of operations below list operations beside their wildcards. The profile is
written so that it means the same if simply the last matching rule applies.

The functions after ``start_failure`` write the sections of a profile. ``seatbelt_command.py`` uses them for commands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from mlx_selfdebug.sandbox.confinement.layout import Layout
from mlx_selfdebug.sandbox.confinement.sbpl import ancestors, literals, rule, spellings, subpaths

SANDBOX_EXEC = "/usr/bin/sandbox-exec"
NESTED_EXIT = 71
"""The exit status ``EX_OSERR`` of sandbox-exec: the profile could not be applied, or the program could not be started under it.

A profile cannot be applied inside another sandbox.
"""
PROFILE_EXIT = 65
"""The exit status ``EX_DATAERR`` of sandbox-exec: this macOS does not understand the profile."""

# Groups of operations.
READ = ("file-read*", "file-read-data", "file-read-metadata")
WRITE = (
    "file-write*",
    "file-write-create",
    "file-write-data",
    "file-write-flags",
    "file-write-mode",
    "file-write-owner",
    "file-write-setugid",
    "file-write-times",
    "file-write-unlink",
    "file-write-xattr",
)
MAP = ("file-map-executable",)
EXECUTE = ("process-exec*", "process-exec-interpreter")
_SHARED_MEMORY = (
    "ipc-posix-shm*",
    "ipc-posix-shm-read*",
    "ipc-posix-shm-read-data",
    "ipc-posix-shm-write*",
    "ipc-posix-shm-write-create",
    "ipc-posix-shm-write-data",
)
_INFORMATION = ("process-info-pidinfo", "process-info-pidfdinfo", "process-info-rusage", "process-info-setcontrol")

# Groups of paths. Everything in _PRIVATE is denied, even where system.sb allows it. SYSTEM, DATA and DEVICES are what every program
# needs to start, and DATA and SYSTEM lie partly in _PRIVATE, so they are allowed after it is denied.
_PRIVATE = (
    "/Applications",
    "/Library",
    "/Network",
    "/System/Volumes/Data",
    "/Users",
    "/Volumes",
    "/cores",
    "/opt",
    "/private",
    "/usr/local",
)
SYSTEM = (
    "/Library/Apple/System/Library",
    "/Library/Apple/usr/lib",
    "/Library/Apple/usr/libexec/oah",  # Rosetta
    "/System/Cryptexes",
    "/System/Library",
    "/System/Volumes/Preboot/Cryptexes",  # the shared cache of libraries
    "/private/var/db/dyld",
    "/usr/lib",
)
DATA = ("/private/etc/localtime", "/private/var/db/timezone", "/usr/share")
DEVICES = (
    "/dev/autofs_nowait",
    "/dev/dtracehelper",
    "/dev/fd",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
)
_ALL_PATHS = ('(subpath "/")',)
_PACKAGES = '(regex #"/(site|dist)-packages($|/)")'
"""A filter for folders of packages wherever they are, since Homebrew keeps packages in the folders of its libraries too."""
LINKS = ('(literal "/etc")', '(literal "/var")')
"""Filters for the links by which the system itself names files in /private."""


def profile(layout: Layout, *, executables: Sequence[str]) -> str:
    """Return the profile of a zygote and of all that it forks.

    The profile lets the layout's executable and ``executables`` be started. Raises ValueError for a path that a profile cannot
    contain.
    """
    sections = (
        head(),
        defaults(),
        revoked(),
        system(),
        _interpreter(layout, started(layout, executables)),
        own_processes(),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def command(
    layout: Layout, inner: Sequence[str], *, executables: Sequence[str], sandbox_exec: str = SANDBOX_EXEC
) -> list[str]:
    """Return the command line that runs ``inner`` under the profile.

    Raises ValueError if the profile does not allow the program of ``inner`` to be started.
    """
    allowed = spellings(started(layout, executables))
    if inner[0] not in allowed:
        raise ValueError(f"the profile allows only {', '.join(allowed)} to be started, not {inner[0]!r}")
    return [sandbox_exec, "-p", profile(layout, executables=executables), *inner]


def start_failure(status: int, stderr: str, executable: str) -> str:
    """Return one sentence that tells the user why a confined process ended before it was ready.

    ``status`` is its exit status, or the negative number of the signal that ended it.
    """
    message = next((line.strip() for line in stderr.splitlines() if line.strip()), "no message")
    # sandbox-exec names execvp if it could apply the profile and not start the program.
    if status == NESTED_EXIT and "execvp" not in stderr:
        return f"macOS refuses a sandbox inside a sandbox ({message}): start this from a terminal that is not itself sandboxed."
    if status == NESTED_EXIT:
        return f"The sandbox does not let {executable} start ({message}): this interpreter's layout is not known."
    if status == PROFILE_EXIT:
        return f"This macOS does not understand the sandbox profile ({message}): please report it with the version of macOS."
    if status < 0:
        return (
            f"{executable} was ended by signal {-status} as it started in the sandbox ({message}), "
            "which denies something it needs."
        )
    return f"{executable} ended with status {status} as it started in the sandbox ({message})."


def framework(executable: str) -> str | None:
    """Return the versioned folder of the framework to which ``executable`` belongs, or None if it belongs to none.

    The Pythons of python.org and Homebrew are frameworks.
    """
    match = re.fullmatch(r"(.+\.framework/Versions/[^/]+)/(?:bin/[^/]+|Resources/Python\.app/.+)", executable)
    return match[1] if match else None


def started(layout: Layout, executables: Sequence[str]) -> tuple[str, ...]:
    """Return all programs that must be allowed to start: the layout's executable, ``executables``, and what these start.

    The ``bin/python`` of a framework replaces itself with the program in the framework's ``Python.app``.
    """
    named = (layout.executable, *executables)
    homes = [home for home in map(framework, named) if home]
    return tuple(dict.fromkeys([*named, *(f"{home}/Resources/Python.app/Contents/MacOS/Python" for home in homes)]))


def head() -> list[str]:
    """Return the first rules of every profile, which deny everything by default, before and after the import of ``system.sb``."""
    return ["(version 1)", "(deny default)", '(import "system.sb")', "(deny default)"]


def defaults() -> list[str]:
    """Return the rules without filters, which apply where no filter matches.

    They are needed because some of these operations are allowed by default in spite of ``(deny default)``.
    """
    return [
        "; Denied unless a filter below allows it.",
        rule("deny", READ),
        rule("deny", [*MAP, "file-ioctl"]),
        rule("deny", [*EXECUTE, "process-info*", *_INFORMATION, "signal"]),
        rule("deny", ["network*", "network-bind", "network-inbound", "network-outbound", "system-socket"]),
        rule(
            "deny", ["mach-lookup", "mach-register", "mach-priv-task-port", "appleevent-send", "lsopen", "pseudo-tty"]
        ),
        rule("deny", ["iokit-get-properties", "iokit-open", "iokit-set-properties", "sysctl-write"]),
    ]


def revoked() -> list[str]:
    """Return the rules that take back what ``system.sb`` allows. They have filters, so they win over its rules.

    ``system.sb`` lets programs reach the system log, preferences and core dumps.
    """
    return [
        "; Taken back from system.sb.",
        rule("deny", [*READ, *MAP], subpaths(_PRIVATE)),
        rule("deny", [*WRITE, "file-ioctl"], _ALL_PATHS),
        rule("deny", EXECUTE, _ALL_PATHS),
        rule("deny", ["network-bind", "network-inbound", "network-outbound"], _ALL_PATHS),
        rule("deny", ["network-outbound"], ['(remote ip "*:*")']),
        rule("deny", ["network-bind", "network-inbound"], ['(local ip "*:*")']),
        rule("deny", ["mach-lookup", "mach-register"], ['(global-name-regex #"")', '(local-name-regex #"")']),
        rule("deny", [*_SHARED_MEMORY, "ipc-posix-sem"], ['(ipc-posix-name-regex #"")']),
        rule("deny", ["signal", *_INFORMATION], ["(target others)"]),
    ]


def system() -> list[str]:
    """Return the rules that any program on a Mac needs to start.

    The loader reads the root folder, which shows only the names in it.
    """
    return [
        "; The system: its libraries, time zones and locales.",
        rule("allow", READ, ['(literal "/")', *subpaths([*SYSTEM, *DATA, *DEVICES])]),
        rule("allow", MAP, subpaths(SYSTEM)),
        rule("allow", ["file-write-data"], literals(["/dev/null"])),
        rule("allow", ["file-write-data", "file-ioctl"], literals(["/dev/dtracehelper"])),
        "; The processor and its caches, but neither processes, which show their environment, nor the network.",
        rule("allow", ["sysctl-read"]),
        rule("deny", ["sysctl-read"], ['(sysctl-name-regex #"^kern\\.proc")', '(sysctl-name-regex #"^net\\.")']),
    ]


def _interpreter(layout: Layout, programs: Sequence[str]) -> list[str]:
    """Return the rules for the interpreter, its packages, and the folders above them."""
    shown = installation(layout, programs)
    exceptions = [*layout.packages, *layout.files]
    lines = [
        "; The interpreter.",
        rule("allow", [*READ, *MAP], subpaths(shown)),
        rule("allow", ["process-exec*"], literals(programs)),
        "; Packages are denied, except those named below.",
        rule("deny", [*READ, *MAP], [_PACKAGES, *subpaths(layout.hidden)]),
    ]
    if exceptions:
        lines.append(rule("allow", [*READ, *MAP], subpaths(exceptions)))
    if layout.packages:
        # An import lists the folder that holds the package.
        lines.append(rule("allow", ["file-read-data"], literals(_parents(layout.packages))))
    folders = ancestors(spellings([*shown, *exceptions, *SYSTEM, *DATA, *DEVICES]))
    lines.append("; The folders above all these: whether they exist, but not what is in them.")
    return [*lines, rule("allow", ["file-read-metadata"], [*LINKS, *literals(folders)])]


def installation(layout: Layout, programs: Sequence[str]) -> list[str]:
    """Return the files and folders that make up an interpreter, including the ``programs`` that are started."""
    homes = [home for home in map(framework, programs) if home]
    applications = [f"{home}/Resources/Python.app" for home in homes]
    images = [f"{home}/{_image(home)}" for home in homes]
    return [*layout.stdlib, *layout.libraries, *applications, *images, *programs, *_environment_files(programs)]


def _image(home: str) -> str:
    """Return the file name of the library of a framework, which is the name of the framework itself.

    It is Python, or PythonT for the build without the global lock.
    """
    return home.rsplit(".framework/", 1)[0].rsplit("/", 1)[1]


def _environment_files(programs: Sequence[str]) -> list[str]:
    """Return the files in which a starting interpreter looks for a virtual environment.

    Access to them is allowed so that the interpreter finds that they do not exist, instead of being refused.
    """
    folders = chain.from_iterable((_parent(path), _parent(_parent(path))) for path in programs)
    return [f"{folder.rstrip('/')}/pyvenv.cfg" for folder in dict.fromkeys(folders)]


def _parents(paths: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(_parent, paths)))


def _parent(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"


def own_processes() -> list[str]:
    """Return the rules for what a process may do to itself and to its children.

    They name ``children`` and not ``same-sandbox``, which would let one run end another run or its zygote.
    """
    return [
        "; Itself. A zygote forks, ends and measures its children; a child has none, so this lets it harm only itself.",
        rule("allow", ["process-fork"]),
        rule("allow", ["signal", *_INFORMATION], ["(target self)"]),
        rule("allow", ["signal", "process-info-pidinfo", "process-info-rusage"], ["(target children)"]),
    ]
