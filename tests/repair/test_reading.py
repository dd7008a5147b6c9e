from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import pytest

import mlx_selfdebug as sd
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.errors import ModelError
from mlx_selfdebug.repair.edits.candidates import candidates
from mlx_selfdebug.repair.picture import Shade, as_ansi, as_html, as_text, most_surprising
from mlx_selfdebug.repair.reading import MAX_REMEMBERED, Readings, unread
from mlx_selfdebug.sampling.reading import Reading, indifferent_reading
from mlx_selfdebug.testing import make_task

TASK, CODE = make_task("add"), "\n\ndef add(a, b):\n    return a - b\n\n"
SHADES = [Shade("a", 0.0, ()), Shade(" -", 6.0, (" +", " *")), Shade(" b", 0.5, (" <c",)), Shade("\n", 9.0, ("\n\n",))]


class Counting:
    """A decoder that finds nothing and counts what it reads."""

    def __init__(self) -> None:
        self.n = 0

    def read(self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Any = ()) -> Reading:
        self.n += 1
        return indifferent_reading(program, len(prompt))

    def log_likelihood(self, prompt: Any, reading: Reading, program: tuple[int, ...], breaks: Any = ()) -> float:
        return -float(len(program))


def test_a_program_is_read_as_the_completion_of_its_tasks_draft_prompt(tiny: Any) -> None:
    program = sd.read(tiny, TASK, CODE)
    assert program.prompt == domain_of("python").prompt(TASK)
    assert tiny.decode(program.ids) == domain_of("python").completion(CODE)


def test_the_body_is_the_program_without_the_empty_lines_around_it(tiny: Any) -> None:
    program = sd.read(tiny, TASK, CODE)
    assert program.body == "def add(a, b):\n    return a - b"
    assert program.code_of("x") == "\n\nx\n\n"
    assert program.first_line == 3


def test_an_unread_program_can_be_edited_by_the_operators_alone(tiny: Any) -> None:
    program = unread(tiny, TASK, CODE)
    assert (program.body, program.first_line) == ("def add(a, b):\n    return a - b", 3)
    found = candidates(program, domain_of("python"))
    assert "\n\ndef add(a, b):\n    return a + b\n\n" in [candidate.code for candidate in found]
    assert {candidate.edit.operator for candidate in found}.isdisjoint({"token", "inserted token"})


def test_an_empty_program_cannot_be_read(tiny: Any) -> None:
    with pytest.raises(ModelError, match="empty program"):
        sd.read(tiny, TASK, "\n  \n")


def test_a_program_that_does_not_fit_the_context_is_refused_with_the_numbers(tiny: Any) -> None:
    with pytest.raises(ModelError, match=r"exceed the context of .* 4,096 tokens"):
        sd.read(tiny, TASK, "x = 1\n" * 700)


def test_a_program_is_read_once_and_the_oldest_is_forgotten(tiny: Any) -> None:
    decoder = Counting()
    readings = Readings(tiny, decoder)

    def read(code: str) -> Any:
        return readings.read(TASK, code, "p", (1,), ())

    assert read("a") is read("a")
    assert decoder.n == 1
    for i in range(MAX_REMEMBERED):
        read(f"x{i}")
    read("a")
    assert decoder.n == MAX_REMEMBERED + 2


def test_a_program_is_read_again_under_another_prompt(tiny: Any) -> None:
    readings = Readings(tiny, Counting())
    programs = [readings.read(TASK, "a", prompt, ids, ()) for prompt, ids in (("p", (1,)), ("q", (1, 2)))]
    assert [program.prompt for program in programs] == ["p", "q"]


def test_the_likelihood_of_whole_programs_is_the_sum_over_their_tokens(tiny: Any) -> None:
    readings = Readings(tiny, Counting())
    program = readings.read(TASK, "ab", "p", (1,), ())
    fence = len("\n```")
    assert readings.log_likelihoods(program, ["ab", "abc"]) == [-2.0 - fence, -3.0 - fence]


def test_the_shades_of_a_program_are_its_text(tiny: Any) -> None:
    program = sd.read(tiny, TASK, CODE)
    shades = program.shades()
    assert "".join(shade.text for shade in shades) == program.body
    surprise = np.maximum(0, program.reading.surprise[: len(shades)])
    assert np.allclose([shade.nats for shade in shades], surprise, atol=1e-3)


def test_a_text_view_marks_the_most_surprising_token_of_a_line() -> None:
    assert as_text(SHADES) == "a [- -> +] b\n"


def test_what_stands_around_a_marked_token_stays_where_it_was() -> None:
    assert (
        as_text([Shade("if a", 0.0, ()), Shade(" ):\n", 3.0, ("):\n",)), Shade("b", 0.0, ())]) == "if a [): -> ):]\nb"
    )


def test_a_terminal_shows_what_can_be_seen_of_a_surprising_token_on_a_background() -> None:
    assert as_ansi(SHADES) == "a \x1b[30;48;5;215m-\x1b[0m b\n"
    assert as_ansi([Shade("  \n", 8.0, ("x",))]) == "  \n"


def test_the_most_surprising_places_come_first_with_their_lines() -> None:
    shades = [*SHADES, Shade("c", 6.0, ("d",)), Shade("d", 0.0, ())]
    assert [(place.line, place.shade.text) for place in most_surprising(shades, 3)] == [(1, "\n"), (1, " -"), (2, "c")]


def test_a_token_is_shaded_in_whole_steps_up_to_the_last() -> None:
    assert [Shade("a", nats, ("b",)).strength(8) for nats in (0.0, 0.9, 1.0, 7.9, 30.0)] == [0, 0, 1, 7, 8]


def test_a_picture_shades_by_surprise_and_says_what_the_model_would_rather_have_written() -> None:
    page = as_html(SHADES)
    assert page.count("<span") == 3
    assert "rgba(220, 90, 40, 0.75)" in page
    assert "6.0 nats; rather &#x27; +&#x27; or &#x27; *&#x27;" in page
    assert "&lt;c" in page
    assert "<c" not in page


def test_a_picture_has_a_margin_with_a_mark_for_each_line() -> None:
    shades = [Shade("a\n", 0.0, ()), Shade("b\nc", 6.0, ("\n",)), Shade(" d", 0.0, ())]
    text = html.unescape(re.sub("<.*?>", "", as_html(shades, ["> ", "  ", "&"])))
    assert text.split("\n") == ["> a", "  b", "&c d"]


def test_in_a_notebook_a_reading_is_its_picture(tiny: Any) -> None:
    program = sd.read(tiny, TASK, CODE)
    assert program._repr_html_() == as_html(program.shades())
