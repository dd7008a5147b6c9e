"""Final answers: how they are found and compared, and that what is told never holds the key."""

from __future__ import annotations

import ast
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.domains.inside import math_program, source_of
from mlx_selfdebug.domains.mathematics import form_of, key_checks
from mlx_selfdebug.domains.reasoning import entry_checks
from mlx_selfdebug.tasks import Task, load_tasks


def task(key: str) -> Task:
    return Task("t", "math", "How many?", "answer", public=key_checks(key), hidden=key_checks(key))


@pytest.mark.parametrize(
    ("reply", "key"),
    [
        (r"so \boxed{18}", "18"),
        (r"\boxed{17} no, \boxed{18}", "18"),
        (r"\boxed{18.0}", "18"),
        (r"\boxed{1,000 dollars}", "1000"),
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (r"\boxed{x^2+2x+1}", "(x+1)^2"),
        ("#### 18", "18"),
        ("The answer is $18.", "18"),
        (r"\boxed{-3}", "-3"),
        (r"\boxed{1\,000 \text{ m}^2}", "1,000"),
        ("<think>\n\\boxed{17}\n</think>\n**Answer:** 18 dollars, altogether.<|im_e", "18"),
        (r"\boxed{0.0000001}", r"\frac{1}{10000000}"),
    ],
)
def test_an_equal_answer_is_right(told, reply, key):
    assert told(task(key), reply) == ""


@pytest.mark.parametrize(
    ("reply", "key"),
    [
        ("I do not know", "18"),
        (r"\boxed{}", "18"),
        (r"\boxed{17}", "18"),
        (r"\boxed{{{}", "1"),
        (r"\boxed{81}", "18"),
        (r"\boxed{\text{none}}", "3"),
        (r"\boxed{9^{9^{9^{9}}}}", "5"),
        ("", "7"),
        (r"<think>It is \boxed{6}", "6"),
        (r"\boxed{0.0000001}", "0.0000002"),
    ],
)
def test_any_other_is_wrong_and_the_key_is_not_told(told, reply, key):
    said = told(task(key), reply)
    assert said
    assert key not in said.replace(reply, "").replace(reply[7:-1], "")


def test_how_an_answer_was_read_is_told_with_the_form_that_is_expected(told):
    assert told(task("18"), r"\boxed{17}") == (
        "The final answer was read as 17, which is wrong; a whole number is expected."
    )


@pytest.mark.parametrize(
    ("key", "form"),
    [
        ("18", "a whole number"),
        ("-2", "a whole number"),
        ("1,000", "a whole number"),
        ("0.5", "a number"),
        (r"\frac{1}{2}", "a number"),
        ("1,2", "an expression"),
        ("yes", "a word"),
        ("x+1", "an expression"),
    ],
)
def test_the_form_of_a_key(key, form):
    assert form_of(key) == form


def wrong(answer: str, key: str) -> str:
    """Return what the program of a test run says of an answer, without the test run."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    math_program.TEXT = f"\\boxed{{{answer}}}"
    return math_program.answer(key, form_of(key))


EQUAL = [
    ("0.5", r"\frac{1}{2}"), ("0.5x", r"\frac{x}{2}"), (r"\sqrt{8}", r"2\sqrt{2}"), (r"2\sqrt{2} \text{ cm}", r"2\sqrt{2}"), (r"2\sqrt{2} cm^2", r"2\sqrt{2}"),
    ("2^{10}", "1024"), (r"x = \sqrt{25}", "5"), ("5!", "120"), ("0.5^2", "0.25"), (r"\frac{\pi}{2}", r"0.5\pi"), (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5+2\sqrt{6}}"),
    ("2,1", "1, 2"), (r"\{1, 2\}", "1,2"), ("(1,2)", "(1,2)"), ("[0.5, 1)", r"[\frac{1}{2},1)"), (r"x \ge 0.5", r"x \ge \frac12"), ("1{,}234x", "1234x"),
    (r"\begin{pmatrix}0.5\\2\end{pmatrix}", r"\begin{pmatrix}\frac12\\2\end{pmatrix}"), ("50", r"50\%"), ("yx", "xy"),
    ("Yes.", "yes"), (r"\text{Yes}", "yes"), (r"\text{(B)}", "B"), (r"\text{no solution}", "no solution"),
]  # fmt: skip
DIFFERENT = [
    ("0.333333", r"\frac{1}{3}"), ("1.414214", r"\sqrt{2}"), ("3.14159265358979", r"\pi"), ("0", "10^{-7}"), ("0.12345678901234567890", "0.12345678901234567891"),
    ("100000000000000000000", "100000000000000000001"), (r"\frac{\sqrt{2}}{10^{20}}", r"\frac{\sqrt{3}}{10^{20}}"), (r"\frac{\sqrt2}{10^{500}}", r"\frac{\sqrt3}{10^{500}}"),
    (r"\sqrt{2}+10^{-30}", r"\sqrt{2}"), ("0.0000001x", "0.0000002x"), ("x+0.0000001", "x+0.0000002"), (r"\{1,2.0000001\}", r"\{1,2\}"), ("[0.5000001,1)", "[0.5,1)"),
    (r"x \ge 0.5000001", r"x \ge 0.5"), (r"\begin{pmatrix}0.5000001\\2\end{pmatrix}", r"\begin{pmatrix}\frac12\\2\end{pmatrix}"),
    ("1,2", "12"), ("12", "1,2"), ("1,2", "1.2"), ("1.2", "1,2"), ("5, 6", "5"), ("5, 5", "5"), ("5 or 6", "5"), (r"\pm 5", "5"), (r"1\,000", "0"),
    ("5x", "5"), (r"5\text{x}", "5"), (r"5 \text{ million}", "5"), (r"5 \text{ or more}", "5"), (r"5 \text{ and a half}", "5"), ("x>5", "5"), (r"2\sqrt{2}x", r"2\sqrt{2}"),
    ("sey", "yes"), ("on", "no"), ("A, B", "A"), (r"\text{no solutions}", "no solution"), ("(1,2)", "[1,2]"), ("(2,1)", "(1,2)"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "key"), EQUAL)
def test_an_answer_of_the_same_value_is_right(answer, key):
    assert wrong(answer, key) == ""


@pytest.mark.parametrize(("answer", "key"), DIFFERENT)
def test_an_answer_of_another_value_is_wrong_however_near_it_is(answer, key):
    assert wrong(answer, key)


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**9), max_value=10**9),
    st.integers(1, 60),
)
def test_no_neighbour_of_a_number_passes(key, places):
    neighbour = f"{key:f}" + "0" * places + "1"
    assert wrong(f"{key:f}", f"{key:f}") == ""
    assert wrong(neighbour, f"{key:f}")
    assert wrong(f"{key:f}", neighbour)


@given(st.integers(2, 50), st.integers(1, 60))
def test_no_neighbour_of_an_expression_passes(n, places):
    assert wrong(f"\\sqrt{{{n}}}\\pi + 10^{{-{places}}}", f"\\sqrt{{{n}}}\\pi")


@given(st.text("ab ,.+-*/^()\\{}$%0159x=<", max_size=12))
def test_no_text_without_its_digits_passes_for_a_number(text):
    assert wrong(text, "7")


@pytest.mark.parametrize("program", ["math_program", "reasoning_program"])
def test_the_files_of_a_program_define_no_name_twice(program):
    body = ast.parse(source_of(program)).body
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    names += [ast.unparse(target) for node in body if isinstance(node, ast.Assign) for target in node.targets]
    assert len(names) == len(set(names))


def test_neither_prompt_nor_repair_holds_the_key(told):
    assert "4711" not in domain_of("math").prompt(task("4711"))


def test_an_entry_of_reasoning_gym_is_scored_by_its_own_scorer(told):
    [made] = load_tasks("reasoning-gym:chain_sum,size=1,seed=5")
    assert told(made, made.reference) == ""
    assert "which is wrong" in told(made, "Answer: 1234567")
    assert told(made, "no idea").startswith("No final answer was found")


PUZZLE = Task(
    "t",
    "reasoning",
    "?",
    "answer",
    public=entry_checks({"question": "?", "answer": "1000", "metadata": {"source_dataset": "chain_sum"}}),
)


@pytest.mark.parametrize(
    "reply",
    [
        "Answer: 1000", "**Answer:** 1000", "**Answer**: 1,000.", "Answer: **1000** apples", r"Answer: $\boxed{1000}$", r"So \boxed{1\,000}", "Final answer: 1000\n\nIt is so.",
        "Answer: 7\nNo.\nAnswer: 1000<|im_end|>", "<think>Answer: 7</think>Answer: 1000", "Answer: 1000\nAnswer:",
    ],
)  # fmt: skip
def test_the_final_answer_to_a_puzzle_is_read(told, reply):
    assert told(PUZZLE, reply) == ""


@pytest.mark.parametrize(
    "reply",
    ["Answer: 1001", "Answer: 1000 or 1001", "Answer: 1 thousand x", "<think>Answer: 1000", "Answer: 1000\nAnswer: 7"],
)
def test_any_other_answer_to_a_puzzle_is_wrong(told, reply):
    assert told(PUZZLE, reply)


def test_an_equal_number_in_another_form_is_left_to_the_scorer(told):
    entry = {"question": "?", "answer": "0010", "metadata": {"source_dataset": "base_conversion"}}
    puzzle = Task("t", "reasoning", "?", "answer", public=entry_checks(entry))
    assert told(puzzle, "Answer: 0010.") == ""
    assert told(puzzle, "Answer: 10")


def puzzle(generator: str, answer: str, settings: dict[str, int] | None = None, **metadata: object) -> Task:
    entry = {"question": "?", "answer": answer, "metadata": {"source_dataset": generator, **metadata}}
    return Task("t", "reasoning", "?", "answer", public=entry_checks(entry, settings))


def test_a_reading_at_which_the_scorer_raises_is_not_the_only_one(told):
    times = "\N{MULTIPLICATION SIGN}"
    factors = puzzle("prime_factorization", f"2 {times} 2 {times} 3")
    assert told(factors, f"Answer: 2 {times} 2 {times} 3.") == ""
    assert "which is wrong" in told(factors, f"Answer: 2 {times} 6.")


def test_the_scorer_has_the_settings_of_the_task(told):
    settings = {"min_num_decimal_places": 6, "max_num_decimal_places": 6}
    quotient = puzzle("decimal_arithmetic", "1.123456", settings)
    assert told(quotient, "Answer: 1.123456") == ""
    assert "which is wrong" in told(quotient, "Answer: 1.124")
    assert told(puzzle("decimal_arithmetic", "1.123456"), "Answer: 1.124") == ""


def test_a_generated_task_holds_the_settings_that_were_given():
    [made] = load_tasks("reasoning-gym:decimal_arithmetic,size=1,max_num_decimal_places=6")
    assert json.dumps({"max_num_decimal_places": 6}) in made.public.source


LENIENT = [
    (
        "advanced_geometry",
        "(1.5, -2)",
        ["(1.5, -2.0)"],
        ["(1.5, -2), 7"],
        {"task_type": "orthocenter", "ortho": ["3/2", "-2"]},
    ),
    ("coin_flip", "0.125", ["0.125", "1/8"], ["0", "0.1254"], {}),
    ("figlet_font", "WATERMELONS", ["watermelons"], ["watermelonx"], {}),
    ("game_of_life", "[[0,1],[1,0]]", ["[[0, 1], [1, 0]]"], ["[[0,1],[1,0],[1,1]]"], {}),
    ("game_of_life_halting", "True", ["True."], ["False", "7"], {}),
    ("gsm_symbolic", "5", ["5", "5 apples"], ["-5", "5 or 6"], {}),
    ("letter_jumble", "we go", ["We go"], ["we go home"], {}),
    ("number_format", "91585693.041", ["91,585,693.041"], ["91585693.04"], {"solution": 91585693.041}),
    ("number_sorting", "['1.5', '3.0']", ["['1.5', '3']"], ["['1.5', '3.9']"], {"direction": "ascending"}),
    ("polynomial_equations", "0.5, -0.5", ["-0.5, 0.5"], ["x = 2, 0.5, -0.5"], {}),
    ("polynomial_equations", "", ['""'], ["x = 2", "hard to say"], {}),
    ("pool_matrix", "5.22 2.5\n3.0 6.67", ["5.2222 2.5\n3 6.667"], ["5.23 2.5\n3.0 6.67"], {}),
    ("puzzle24", "4*6*1*1", ["1*6*4*1", "4*6+1-1"], ["3*8*1*1"], {"numbers": [4, 6, 1, 1]}),
    ("word_sorting", "ant, bee", ["ant, bee", "ant,bee"], ["ant, bee, cow"], {"sorted_words": ["ant", "bee"]}),
]


@pytest.mark.parametrize(("generator", "answer", "right", "wrong", "metadata"), LENIENT)
def test_a_wrong_answer_is_wrong_even_if_its_scorer_gives_it_full_marks(
    told, generator, answer, right, wrong, metadata
):
    made = puzzle(generator, answer, **metadata)
    assert [told(made, f"Answer: {reply}") for reply in right] == [""] * len(right)
    assert all(told(made, f"Answer: {reply}") for reply in wrong)


@pytest.mark.parametrize(
    "reply",
    [
        "Answer:\n1 2\n3 4",
        "**Answer:**\n```\n1 2\n3 4\n```",
        "Answer:\n```text\n1 2\n3 4\n```\n\nEach row was turned around.",
        "```text\n3 4\n1 2\n```\n**Answer**:\n\n```plaintext\n1 2\n3 4",
    ],
)
def test_a_grid_is_read_with_or_without_a_code_block(told, reply):
    assert told(puzzle("manipulate_matrix", "1 2\n3 4"), reply) == ""


def test_the_generators_own_answer_is_right_even_if_its_scorer_refuses_it_as_json(told):
    grid = puzzle("rearc", "1 2\n3 4", output=[[1, 2], [3, 4]])
    assert told(grid, "Answer:\n1 2\n3 4") == ""
    assert told(grid, "Answer:\n1 2\n3 5")


def test_a_number_in_a_code_block_with_a_language_is_read(told):
    assert told(PUZZLE, "Answer:\n```text\n1000\n```\nThat is all.") == ""
    assert told(task("18"), "Answer:\n```text\n18\n```\nThat is all.") == ""


def test_an_entry_is_kept_as_json():
    checks = entry_checks({"question": "1 + 1?", "answer": "2", "metadata": {"source_dataset": "chain_sum"}})
    assert json.dumps("2") in checks.source
