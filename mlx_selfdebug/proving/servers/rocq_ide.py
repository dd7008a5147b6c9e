"""Talk to ``coqidetop``, a program of Rocq, in the XML protocol that Rocq's editors use.

Each call is one element, and so is its answer. A state is a point between two sentences. A call that adds a sentence after the
state 1 and its answer, which names the new state 2, look like this:

    <call val="Add"><pair><pair><pair><pair><string>intros n.</string><int>-1</int></pair>...</call>
    <value val="good"><pair><state_id val="2"/>...</pair></value>

Before the answer, Rocq may send ``feedback`` elements, which hold what it prints. Their text is escaped, so nothing that a proof
makes Rocq print can pass for an answer. The protocol is described in ``dev/doc/xml-protocol.md`` of Rocq's sources.
"""

from __future__ import annotations

import os
import resource
import select
import subprocess
import time
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

MAX_ANSWER_BYTES = 8 << 20
"""The maximum number of bytes that Rocq may send in answer to one call. If it sends more, it is ended."""
_STACK_BYTES = 64 << 20
"""The stack of Rocq's process, which is deeply recursive."""
# Rocq uses an entity (nbsp) that XML does not define. It also sends many root elements where XML allows one, so one is put around
# them.
_PROLOGUE = '<!DOCTYPE answers [<!ENTITY nbsp " ">]><answers>'


class Ended(Exception):  # noqa: N818 - nothing went wrong in this program
    """Rocq's process can no longer be used. The argument says why: ``timed_out``, ``memory``, ``output`` or ``crashed``."""


class Failed(Exception):  # noqa: N818 - an answer of Rocq, not an error here
    """The error that Rocq gave as its answer to a call."""

    def __init__(self, message: str, state: int) -> None:
        super().__init__(message)
        self.state = state
        """The number of the last state that Rocq reached without an error, or 0 if a sentence could not be parsed."""


class Ide:
    """One process of ``coqidetop``, started from the path ``program``. It may map ``memory_bytes``.

    Every method that calls Rocq raises Ended if the process can no longer be used.
    """

    def __init__(self, program: str, memory_bytes: int) -> None:
        def set_limits() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
            stack = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
            resource.setrlimit(resource.RLIMIT_STACK, (stack, hard))

        self._process = subprocess.Popen(
            [program, "-q", "-main-channel", "stdfds", "-async-proofs", "off"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=set_limits,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self.deadline = float("inf")
        """The time (``time.monotonic()``) at which a waiting call gives up with ``timed_out``."""
        self.messages: dict[int, list[str]] = {}
        """What Rocq has printed since the last call of ``add``, keyed by the number of the state that printed it."""
        self.has_admitted = False
        """Whether a sentence has added an axiom, as ``admit`` does. Rocq's feedback sets this, and the caller may reset it."""
        self._restart_parser()

    def version(self) -> tuple[str, str]:
        """Return the version of Rocq and that of the protocol."""
        strings = [element.text or "" for element in self._call("About", "<unit/>").iter("string")]
        return strings[0], strings[1]

    def initial(self) -> int:
        """Return the number of the state before the first sentence."""
        return _state(self._call("Init", '<option val="none"/>'))

    def add(self, sentence: str, state: int) -> int:
        """Add a sentence after ``state``, without executing it, and return the number of the state after it.

        If ``sentence`` holds several sentences, only the first is added. Raises Failed if it cannot be parsed.
        """
        self.messages = {}
        # The argument is ((((text, edit id), (state, verbose)), offset), (line, column)). The places are not used, so they are 0.
        text = f"<pair><string>{escape(sentence)}</string><int>-1</int></pair>"
        place = f'<pair><state_id val="{state}"/><bool val="false"/></pair>'
        zeros = "<pair><int>0</int><int>0</int></pair>"
        answer = self._call("Add", f"<pair><pair><pair>{text}{place}</pair><int>0</int></pair>{zeros}</pair>")
        return _state(answer)

    def goals(self) -> list[str] | None:
        """Execute all sentences that were added, and return the goals in focus as text, or None outside of a proof.

        Raises Failed if a sentence fails. The state of that error is the one before the sentence.
        """
        goals = self._call("Goal", "<unit/>").find("./option/goals")
        # The first list holds the goals in focus. The lists after it hold the goals in the background, shelved and given up.
        return None if goals is None else [_goal(goal) for goal in goals.findall("./list[1]/goal")]

    def open_proofs(self) -> list[str]:
        """Return the names of the theorems whose proofs are open."""
        status = self._call("Status", '<bool val="true"/>')
        # The first list holds the path of the current module, and the second the names of all open proofs.
        return [name.text or "" for name in status.findall("./status/list[2]/string")]

    def go_back(self, state: int) -> None:
        """Forget everything that was added after ``state``."""
        self._call("Edit_at", f'<state_id val="{state}"/>')

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()

    def _restart_parser(self) -> None:
        self._parser: Any = ElementTree.XMLPullParser(("end",))
        self._parser.feed(_PROLOGUE)

    def _call(self, name: str, argument: str) -> ElementTree.Element:
        """Return the element that answers a call. Raises Failed if the answer is an error, and Ended if there is no answer."""
        try:
            self._input.write(f'<call val="{name}">{argument}</call>'.encode())
            self._input.flush()
        except OSError:
            raise Ended("crashed") from None
        received = 0
        while True:
            data = self._read()
            received += len(data)
            if received > MAX_ANSWER_BYTES:
                raise Ended("output")
            try:
                self._parser.feed(data)
                for _, element in self._parser.read_events():
                    if element.tag == "feedback":
                        self._take_message(element)
                    elif element.tag == "value":
                        # The parser keeps all elements that it has read, so a new one takes its place. Nothing is lost, since
                        # Rocq sends nothing after an answer until the next call.
                        self._restart_parser()
                        return _require_success(element)
            except ElementTree.ParseError:  # raised by read_events for what feed could not parse
                raise Ended("crashed") from None

    def _read(self) -> bytes:
        """Return the bytes that Rocq sends next. Raises Ended at the deadline, or if the process is gone."""
        remaining_s = None if self.deadline == float("inf") else max(0.0, self.deadline - time.monotonic())
        if not select.select([self._output], [], [], remaining_s)[0]:
            raise Ended("timed_out")
        data = os.read(self._output.fileno(), 1 << 16)
        if not data:
            raise Ended("crashed")
        return data

    def _take_message(self, feedback: ElementTree.Element) -> None:
        """Note what a ``feedback`` element reports: a text that Rocq prints, or that an axiom was added."""
        self.has_admitted |= feedback.find("./feedback_content[@val='addedaxiom']") is not None
        message = feedback.find("./feedback_content[@val='message']/message")
        state = feedback.find("state_id")
        if message is not None and state is not None:
            self.messages.setdefault(_number(state), []).append(_text(message.find("richpp")))


def _require_success(element: ElementTree.Element) -> ElementTree.Element:
    """Return the answer if it reports success. Raises Failed if it reports an error, and Ended if memory has run out."""
    if element.get("val") == "good":
        return element
    message = _text(element.find("richpp"))
    if "out of memory" in message.lower():
        raise Ended("memory")
    raise Failed(message, _state(element))


def _goal(goal: ElementTree.Element) -> str:
    """Return a goal as Rocq prints it: the hypotheses, a line of equals signs, and the conclusion."""
    hypotheses = [_text(hypothesis) for hypothesis in goal.findall("./list/richpp")]
    return "\n".join([*hypotheses, "=" * 28, _text(goal.find("richpp"))])


def _state(answer: ElementTree.Element) -> int:
    """Return the number of the first state that an answer names."""
    state = answer.find(".//state_id")
    if state is None:
        raise Ended("crashed")
    return _number(state)


def _number(state: ElementTree.Element) -> int:
    return int(state.get("val", "0"))


def _text(rich: ElementTree.Element | None) -> str:
    return "" if rich is None else "".join(rich.itertext()).strip()
