from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pytest

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.repair.asking import Asked, Asking, Decoding, Refused
from mlx_selfdebug.repair.forks import (
    Fork,
    Insertion,
    Line,
    fork_filter,
    forks_of,
    greedy_start,
    insertion_filter,
    line_filter,
)
from mlx_selfdebug.repair.policies import Move
from mlx_selfdebug.testing import ScriptedModel, make_attempt, make_task

from ..support.values import FAILED

PYTHON = domain_of("python")
TASK = make_task()
CODE = '''def f(numbers):
    """Sum them."""
    total = 0  # so far
    for n in numbers:
        total -= n
    return total
'''


@dataclass(frozen=True, eq=False)
class Read:
    ids: Any
    log_likelihood: Any
    others: Any
    others_log_likelihood: Any


def read(own: list[float], others: list[list[tuple[int, float]]]) -> Read:
    """Own log-likelihoods, and for each place (id, log-likelihood) of the others."""
    return Read(
        np.arange(len(own)),
        np.array(own, np.float32),
        np.array([[id_ for id_, _ in row] for row in others]),
        np.array([[value for _, value in row] for row in others], np.float32),
    )


@dataclass(frozen=True, eq=False)
class Program:
    """One token a character, as the scripted model has them."""

    prompt: str
    prompt_ids: tuple[int, ...]
    breaks: tuple[int, ...]
    text: str
    reading: Read
    speller: Any = field(default_factory=lambda: Characters())

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(map(ord, self.text))

    @property
    def body(self) -> str:
        return self.text.removesuffix("```").strip("\n")

    @property
    def starts(self) -> tuple[int, ...]:
        return tuple(range(len(self.text) + 1))


class Characters:
    def spell(self, id_: int) -> str:
        return chr(id_)


def program(text: str, wished: dict[int, tuple[str, float]] | None = None) -> Program:
    """``text`` as read: at each place the character wished for, likelier by so many nats than the one that stands there."""
    wished = wished or {}
    others = [[(ord(wished.get(i, ("~", 0.0))[0]), wished.get(i, ("~", -9.0))[1] - 1.0)] for i in range(len(text))]
    return Program("Write it.", (1, 2, 3), (1, 2), text, read([-1.0] * len(text), others))


def test_the_most_surprising_places_come_first_each_once_with_its_likeliest_token() -> None:
    reading = read([-1, -5, -2], [[(7, -2), (8, -3)], [(7, -1), (8, -2)], [(9, -1), (8, -8)]])
    assert forks_of(reading, 9) == [Fork(1, 7, 4.0), Fork(2, 9, 1.0), Fork(0, 7, -1.0)]
    assert forks_of(reading, 2) == forks_of(reading, 9)[:2]


def test_of_equally_surprising_places_the_earlier_comes_first() -> None:
    assert [fork.position for fork in forks_of(read([-1] * 40, [[(7, -3.0)]] * 40), 40)] == list(range(40))


def test_a_token_that_may_not_be_taken_leaves_its_place_to_the_next_likely_one() -> None:
    reading = read([-1, -5], [[(7, -2), (8, -3)], [(7, -1), (8, -9)]])
    assert forks_of(reading, 2, lambda position, choice: choice != 7) == [Fork(0, 8, -2.0), Fork(1, 8, -4.0)]


@pytest.mark.parametrize(
    ("choice", "taken"), [("x", True), ("", False), ("\ufffd", False), ("a\ud800", False), ("= 1", False), ("= 12", True), ("=", False), (" ", True)]
)  # fmt: skip
def test_a_choice_must_be_text_that_the_program_does_not_have_there(choice: str, taken: bool) -> None:
    class Spelled(Characters):
        def spell(self, id_: int) -> str:
            return choice if id_ == 0 else chr(id_)

    assert fork_filter(replace(program("a = 1\n"), speller=Spelled()), frozenset(), PYTHON)(2, 0) is taken


def test_other_quotes_are_a_choice_where_they_mean_something_else() -> None:
    one = program("x = 'a'\n")
    assert not fork_filter(one, frozenset(), PYTHON)(4, ord('"'))
    assert fork_filter(one, frozenset(), domain_of("sql"))(4, ord('"'))


def test_the_end_of_a_turn_is_no_choice() -> None:
    assert not fork_filter(program("a = 1\n"), frozenset({ord("x")}), PYTHON)(2, ord("x"))


def test_a_model_writes_a_program_by_itself_after_the_last_place_that_surprises_it() -> None:
    assert greedy_start(program("a = 1\n```"), 5) == 0
    assert greedy_start(program("a = 1\n```", {0: ("b", 2.0), 4: ("2", 1.0)}), 5) == 5


def test_how_a_model_would_end_a_program_does_not_matter_to_how_it_would_write_it() -> None:
    assert greedy_start(program("a = 1\n```", {2: ("+", 1.0), 5: ("2", 1.0), 7: ("x", 1.0)}), 5) == 3


def asking(model: ScriptedModel, **how: Any) -> Asking:
    values = {"temperature": 0.8, "min_p": 0.05, "max_tokens": 16, "batch_size": 8, "budget_bytes": 6 * 10**9, **how}
    return Asking(model, [TASK], Decoding(**values), 1, "arm")


def ask(
    one: Program,
    place: int = 0,
    *,
    by: Literal["line", "insert", "fork"] = "fork",
    context: int = 1 << 30,
    temperature: float | None = None,
    **more: Any,
) -> Asked | Refused:
    model = ScriptedModel(lambda prompt, seed: "")
    opened = asking(model)
    model.context = context
    parent = make_attempt(verdict=FAILED, code=one.text)
    move = Move(0, 2 + place, parent, temperature, by=by, place=place)
    return opened.ask(TASK, move, program=one, **more)


def test_a_fork_begins_with_the_program_up_to_its_place_and_the_choice() -> None:
    asked = ask(program("a = 1\n", {4: ("2", 3.0), 0: ("b", 1.0)}))
    assert isinstance(asked, Asked)
    request = asked.request
    assert request.prompt == (1, 2, 3)
    assert "".join(map(chr, request.given)) == "a = 2"
    assert request.read == (1, 2, 3, *map(ord, "a = 1\n"))
    assert request.read_breaks[:1] == (3,)
    assert set(request.read_breaks) > {3, 7}
    assert list(request.read_breaks) == sorted(request.read_breaks)
    assert (request.temperature, request.max_tokens, request.breaks, request.stop_text) == (0.0, 16, (1, 2), "\n```")
    assert (asked.prompt, asked.n_read_tokens) == ("Write it.", 6)


def test_forks_of_a_program_share_the_places_up_to_which_it_is_computed() -> None:
    one = program("a = 1 + 2\n", {4: ("2", 3.0), 0: ("b", 1.0)})
    first, second = ask(one), ask(one, 1)
    assert isinstance(first, Asked)
    assert isinstance(second, Asked)
    assert first.request.read_breaks == second.request.read_breaks
    assert first.request.given != second.request.given
    assert first.request.seed != second.request.seed


TWO_LINES = "a = 1\nb = 2\n"


def test_a_fork_of_a_line_ends_with_the_line_and_the_program_goes_on_as_it_was() -> None:
    asked = ask(program(TWO_LINES, {4: ("3", 3.0)}), by="line")
    assert isinstance(asked, Asked)
    assert asked.line == Line(4, "\nb = 2")
    assert "".join(map(chr, asked.request.given)) == "a = 3"
    assert asked.request.ended is not None
    assert asked.request.ended("a = 30\n")
    assert asked.request.ended_as == "line"
    assert asked.line.replaced_by("a = 30\n    c") == "a = 30\nb = 2"
    assert asked.line.replaced_by("a = 30") == "a = 30\nb = 2"


BLOCK = "def f(x):\n    y = x\n    return y\n"


def test_an_inserted_statement_stands_above_the_line_that_it_is_begun_on() -> None:
    place = BLOCK.index("return")
    asked = ask(program(BLOCK, {place: ("i", 3.0), BLOCK.index("= x") + 2: ("7", 9.0)}), by="insert")
    assert isinstance(asked, Asked)
    assert isinstance(asked.line, Insertion)
    assert "".join(map(chr, asked.request.given)) == BLOCK[:place] + "i"
    written = f"{BLOCK[:place]}if x is None:\n        return 0\n"
    assert asked.line.replaced_by(written) == f"{BLOCK[:place]}if x is None:\n        return 0\n    return y"


@pytest.mark.parametrize(
    ("written", "is_complete"),
    [
        ("y = 2\n", True),
        ("if x:\n", False),
        ("if x:\n    y = 2\n", True),
        ("y = f(\n", False),
        ("y = f(\n    x)\n", True),
    ],
)
def test_an_inserted_statement_ends_where_it_is_whole(written: str, is_complete: bool) -> None:
    asked = ask(program(BLOCK, {BLOCK.index("return"): ("i", 3.0)}), by="insert")
    assert isinstance(asked, Asked)
    assert asked.request.ended is not None
    above = BLOCK[: BLOCK.index("return")]
    assert asked.request.ended(above + written) is is_complete


def test_a_statement_is_inserted_neither_inside_a_line_nor_above_the_program() -> None:
    allows = insertion_filter(program(BLOCK), lambda _position, _choice: True)
    allowed = [position for position in range(len(BLOCK)) if allows(position, ord("z"))]
    assert {BLOCK[position] for position in allowed} <= {" ", "y", "r"}
    assert {BLOCK.index("y = x"), BLOCK.index("return")} <= set(allowed)
    assert BLOCK.index("= x") not in allowed
    assert 0 not in allowed


def test_several_forks_of_a_line_may_begin_at_one_place() -> None:
    reading = read([-9, -1], [[(7, -2), (8, -3), (9, -4)], [(7, -9), (8, -9), (9, -9)]])
    assert forks_of(reading, 3, per_place=2) == [Fork(0, 7, 7.0), Fork(0, 8, 6.0), Fork(1, 7, -8.0)]


@pytest.mark.parametrize(
    ("domain", "choice", "taken"),
    [
        ("python", "x", True),
        ("python", " # x", False),
        ("python", "\n", False),
        ("python", '"""', False),
        ("sql", " --", False),
        ("regex", "#", True),
    ],
)
def test_a_fork_of_a_line_writes_code_on_it(domain: str, choice: str, taken: bool) -> None:
    class Spelled(Characters):
        def spell(self, id_: int) -> str:
            return choice if id_ == 0 else super().spell(id_)

    one = replace(program("a = 1\n"), speller=Spelled())
    assert line_filter(one, lambda _position, _choice: True, domain_of(domain))(2, 0) is taken


def test_a_fork_of_a_line_begins_inside_the_program() -> None:
    allows = line_filter(program("a = 1\n```"), lambda _position, _choice: True, domain_of("python"))
    assert allows(4, ord("2"))
    assert not allows(9, ord("2"))


def test_a_program_with_too_few_places_to_fork_from_is_exhausted() -> None:
    refused = ask(program("ab"), 2)
    assert refused == Refused("the program has 2 places to fork from, and 2 were tried", exhausted=True)


def test_a_fork_that_does_not_fit_the_context_is_refused_for_that_reason() -> None:
    refused = ask(program("a = 1\n", {4: ("2", 3.0)}), context=23)
    assert refused == Refused("a fork after 5 tokens of the program does not fit the context")


def test_a_fork_of_a_program_that_was_not_read_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="was not read"):
        asking(ScriptedModel(lambda p, s: "")).ask(TASK, Move(0, 1, make_attempt(), by="fork"))


def test_greedy_forks_alone_are_cut_where_they_fall_back() -> None:
    one = program("a = 1\n", {4: ("2", 3.0)})
    greedy, warm = ask(one), ask(one, temperature=0.5)
    assert isinstance(greedy, Asked)
    assert isinstance(warm, Asked)
    assert greedy.request.ended is not None
    assert warm.request.ended is None


def test_a_fork_knows_what_earlier_forks_of_the_same_program_gave() -> None:
    one = program("a = 1\n", {4: ("2", 3.0)})
    id_ = make_attempt().id
    earlier = [
        make_attempt(kind="fork", parent=id_, code="a = 3\n"),
        make_attempt(kind="fork", parent="another", code="a = 4\n"),
        make_attempt(kind="draft", code="a = 5\n"),
    ]
    asked = ask(one, attempts=earlier)
    assert isinstance(asked, Asked)
    assert asked.tried == ("a = 1\n", "a = 3\n")


def test_a_repair_is_ended_as_a_copy_of_the_program_it_was_shown() -> None:
    parent = make_attempt(code=CODE, public=FAILED, verdict=FAILED)
    asked = asking(ScriptedModel(lambda p, s: "")).ask(TASK, Move(0, 1, parent))
    assert isinstance(asked, Asked)
    assert asked.tried == (CODE,)
    assert asked.request.ended is not None
    assert asked.request.ended(CODE + "print(f([]))\n")


def test_what_programs_are_read_under_is_what_a_draft_is_asked_with() -> None:
    opened = asking(ScriptedModel(lambda p, s: ""))
    question, draft = opened.question(TASK), opened.ask(TASK, Move(0))
    assert isinstance(draft, Asked)
    assert (question.prompt, question.ids, question.breaks) == (
        draft.prompt,
        draft.request.prompt,
        draft.request.breaks,
    )
