"""Answers what a sandbox profile allows, for the part of the language that this package writes.

Two readings, which must agree. ``compiled`` is what Apple's compiler makes of a profile (``sbpl_1_prelude.scm``): an operation's
own filtered rules, the latest first; then its own unfiltered rule; then the wildcard it belongs to. ``last_match`` is the rule of
thumb: of all rules for an operation and its wildcards, the last that matches decides.

An operation, filter or combination of both that is not listed here is an error, so that a misspelt one is found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

WILDCARDS = {
    "file-read*": "file*",
    "file-read-data": "file-read*",
    "file-read-metadata": "file-read*",
    "file-read-xattr": "file-read*",
    "file-write*": "file*",
    **{
        f"file-write-{name}": "file-write*"
        for name in ("create", "data", "flags", "mode", "owner", "setugid", "times", "unlink", "xattr")
    },
    "file-ioctl": "file*",
    "file-map-executable": "file*",
    "file*": "default",
    "process*": "default",
    "process-exec*": "process*",
    "process-exec-interpreter": "process-exec*",
    "process-fork": "process*",
    "process-info*": "process*",
    **{
        f"process-info-{name}": "process-info*" for name in ("pidinfo", "pidfdinfo", "rusage", "setcontrol", "listpids")
    },
    "signal": "default",
    "network*": "default",
    **{f"network-{name}": "network*" for name in ("bind", "inbound", "outbound")},
    "system-socket": "default",
    **{f"mach-{name}": "default" for name in ("lookup", "register", "priv-task-port")},
    "ipc-posix-shm*": "default",
    "ipc-posix-shm-read*": "ipc-posix-shm*",
    "ipc-posix-shm-read-data": "ipc-posix-shm-read*",
    "ipc-posix-shm-write*": "ipc-posix-shm*",
    "ipc-posix-shm-write-create": "ipc-posix-shm-write*",
    "ipc-posix-shm-write-data": "ipc-posix-shm-write*",
    "ipc-posix-sem": "default",
    "iokit-get-properties": "default",
    "iokit-open": "default",
    "iokit-set-properties": "default",
    "sysctl-read": "default",
    "sysctl-write": "default",
    "appleevent-send": "default",
    "lsopen": "default",
    "pseudo-tty": "default",
}
ALLOWED_UNLESS_DENIED = ("file-map-executable", "iokit-get-properties", "process-info*")

_PATHS = ("literal", "subpath", "regex")
_FILTERS = {
    "file": _PATHS,
    "process-exec": _PATHS,
    "process-info-": ("target",),
    "signal": ("target",),
    "network-": (*_PATHS, "remote", "local"),
    "mach-lookup": ("global-name", "global-name-regex", "local-name-regex"),
    "mach-register": ("global-name-regex", "local-name-regex"),
    "ipc-posix-": ("ipc-posix-name", "ipc-posix-name-regex"),
    "sysctl-": ("sysctl-name", "sysctl-name-regex"),
}


@dataclass(frozen=True)
class Filter:
    name: str
    argument: str

    def matches(self, target: str) -> bool:
        if self.name == "subpath":
            return target == self.argument or target.startswith(self.argument.rstrip("/") + "/")
        if self.name.endswith("regex"):
            return re.search(self.argument, target) is not None
        if self.name in ("remote", "local"):
            return re.fullmatch(r"[\w.:]+:\d+", target) is not None and not target.startswith("/")
        return target == self.argument


@dataclass(frozen=True)
class Rule:
    action: str
    operations: tuple[str, ...]
    filters: tuple[Filter, ...]

    def matches(self, target: str) -> bool:
        return not self.filters or any(each.matches(target) for each in self.filters)


@dataclass
class Policy:
    """A profile's rules in order, with those of the profiles it imports, given by name."""

    rules: list[Rule] = field(default_factory=list)

    @classmethod
    def of(cls, text: str, imports: dict[str, str]) -> Policy:
        policy = cls()
        for form in parse(text):
            if form[0] == "import":
                policy.rules += cls.of(imports[form[1]], {}).rules
            elif form[0] in ("allow", "deny"):
                policy.rules.append(_rule(form))
            elif form != ["version", "1"]:
                raise ValueError(f"unknown form {form}")
        return policy

    def allows(self, operation: str, target: str = "") -> bool:
        """``target`` is a path, a name, ``host:port`` or ``self``, ``children``, ``others``, by operation."""
        compiled = self.compiled(operation, target)
        if self.last_match(operation, target) != compiled:
            raise AssertionError(f"the two readings of {operation} on {target!r} differ")
        return compiled

    def compiled(self, operation: str, target: str) -> bool:
        own = [rule for rule in self.rules if operation in rule.operations]
        for rule in reversed(own):
            if rule.filters and rule.matches(target):
                return rule.action == "allow"
        plain = [rule for rule in own if not rule.filters]
        if plain:
            return plain[-1].action == "allow"
        if operation in ALLOWED_UNLESS_DENIED:
            return True
        return False if operation == "default" else self.compiled(WILDCARDS[operation], target)

    def last_match(self, operation: str, target: str) -> bool:
        names = [operation]
        while names[-1] != "default":
            names.append(WILDCARDS[names[-1]])
        matching = [rule for rule in self.rules if set(names) & set(rule.operations) and rule.matches(target)]
        return bool(matching) and matching[-1].action == "allow"


def parse(text: str) -> list[list]:
    """The forms of a profile as nested lists of strings; strings and patterns lose their quotes, comments go."""
    stack: list[list] = [[]]
    for match in re.finditer(r'[\s]+|;[^\n]*|#"([^"]*)"|"((?:[^"\\]|\\.)*)"|([()])|([^\s()"#;]+)|(.)', text, re.DOTALL):
        pattern, string, bracket, word, stray = match.groups()
        if stray is not None:
            raise ValueError(f"stray {stray!r} at {match.start()}")
        if bracket == "(":
            stack.append([])
        elif bracket == ")":
            form = stack.pop()
            stack[-1].append(form)
        elif pattern is not None or word is not None:
            stack[-1].append(pattern if pattern is not None else word)
        elif string is not None:
            stack[-1].append(re.sub(r"\\(.)", r"\1", string))
    if len(stack) != 1:
        raise ValueError("brackets do not match")
    return stack[0]


def _rule(form: list) -> Rule:
    action, *rest = form
    operations = tuple(word for word in rest if isinstance(word, str))
    filters = tuple(Filter(each[0], each[-1]) for each in rest if isinstance(each, list))
    for operation in operations:
        if operation not in (*WILDCARDS, "default"):
            raise ValueError(f"unknown operation {operation}")
        known = next((names for start, names in _FILTERS.items() if operation.startswith(start)), ())
        for each in filters:
            if each.name not in known:
                raise ValueError(f"{each.name} is no filter of {operation}")
    return Rule(action, operations, filters)
