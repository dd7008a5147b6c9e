"""Numbers as replies write them, read exactly or not at all."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.domains.inside.plain_number import digits, numbers

STATED = {
    "5": [
        "5", "5.", "5.0", "05", "+5", "(5)", "$5$", r"\(5\)", r"\$5", "\u20ac5", "5 \u20ac", r"\pounds 5", r"\text{USD } 5", "Rs. 5", "5 dollars",
        r"5\text{ cm}^2", r"5 \text{ m}^{2}", "5 cm^2", "5cm\u00b2", "5 cm2", r"5\,\mathrm{m/s^2}", r"5 \text{kg}\cdot\text{m}^2", "5 square meters",
        "5 meters squared", "5 sq. ft", "5 km/h", "5 miles per hour", r"5^\circ", r"5^{\circ}", "5\u00b0", "5 degrees", "5th", "5^{th}", r"5^{\text{th}}",
        r"5\text{th}", "the 5th", r"\textbf{5}", r"\mathbf{5}", r"\text{The answer is 5}", "x = 5", r"2 + 3 = 5", r"n \approx 5 \text{ apples}",
        "5, altogether", "5 times as many", "5 more", "a total of 5", "She has 5 apples left", "5dollars", "5 a day", "5 p.m.", r"\frac{10}{2}", r"5\%", "5 dozen",
    ],
    "-5": ["-5", "\u22125", "- 5", r"-\$5", r"\$-5", "negative 5", r"-\frac{5}{1}", r"\frac{-5}{1}", "-5 degrees"],
    "1000": [
        "1000", "1,000", "1{,}000", r"1,\!000", r"1\,000", r"1\ 000", r"1\;000", "1~000", "1 000", "1\u202f000", "1'000", r"\$1,000.00", "1,000, altogether",
        "1 thousand", r"1 \text{ thousand dollars}", "10^3 = 1000", "1e3", r"1 \times 10^3", r"1.0 \cdot 10^{3}",
    ],
    "1234567.5": ["1,234,567.5", r"1\,234\,567.5", "1234567.50"],
    "1/2": ["1/2", "0.5", ".5", r"\frac{1}{2}", r"\dfrac{1}{2}", r"\frac12", r"\frac{1}{2}\text{ cup}", r"50\%", "50 percent", "5e-1"],
    "-3/2": [r"-1\frac{1}{2}", "-1 1/2", "-1.5"],
    "1/10000000": ["0.0000001", "1e-7", r"1 \times 10^{-7}", r"\frac{1}{10000000}"],
    "5000000": ["5 million", r"\$5 \text{ million}"],
    "60": ["5 dozen"],
}  # fmt: skip


@pytest.mark.parametrize(("value", "text"), [(value, text) for value, texts in STATED.items() for text in texts])
def test_a_number_is_read_with_what_stands_around_it(value: str, text: str) -> None:
    assert Fraction(value) in numbers(text)


@pytest.mark.parametrize(
    "text",
    [
        "5x", "5 x", "x5", "5xy", "5 xy", "5i", "5k", "5e", r"5\pi", "5 pi", r"5\theta", r"5\text{x}", "5/x", "f(5)", "5(x)", r"\max(5)", "log(5)", "sqrt 5",
        r"\sqrt{5}", "5!", "5^2", "2^5", "5 squared", "square of 5", "5 + x", "5 - x", "2(5)", "|5|", r"\pm 5", r"5 \pm 2", "x > 5", r"x \geq 5",
        "5 or 6", "5, 6", "5,6", "1,2", "1,00", "1,0000", "5 to 6", "5-6", "5:30", "3.4.5", "x=5, y=6", "5 or more", "more than 5", "at least 5", "not 5", "5 and a half",
        "half of 5", "twice 5", "5 hundredths", "5 thirds", "5 hours and 30 minutes", r"\frac{5}{0}", "5/0", "5 mod x", "5_2", "", "none", "-x", "5" * 5000,
    ],
)  # fmt: skip
def test_what_is_not_just_one_number_is_not_read(text: str) -> None:
    assert numbers(text) == frozenset()


def test_a_multiple_of_a_million_is_nothing_else() -> None:
    assert numbers("5 million") == {5_000_000}


decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=12)


@given(decimals, st.integers(0, 40))
def test_a_decimal_has_its_exact_value_and_no_neighbours(decimal: object, zeros: int) -> None:
    text = f"{decimal:f}"
    assert numbers(text) == {Fraction(text)}
    neighbour = f"{text}{'0' * zeros}1"
    assert numbers(neighbour) == {Fraction(neighbour)}
    assert numbers(neighbour).isdisjoint(numbers(text))


@given(
    st.integers(),
    st.sampled_from(["{:,}", r"\${:,}", r"{:,} \text{{ m}}^2", "{:,} apples", r"\textbf{{{:,}}}", "{}th", "x = {}"]),
)
def test_an_integer_in_any_dress_is_itself(number: int, dress: str) -> None:
    assert numbers(dress.format(number)) == {number}


@given(st.fractions(max_denominator=10**9))
def test_a_fraction_has_its_exact_value(fraction: Fraction) -> None:
    assert numbers(f"\\frac{{{fraction.numerator}}}{{{fraction.denominator}}}") == {fraction}
    assert numbers(f"{fraction.numerator}/{fraction.denominator}") == {fraction}


@given(st.text(max_size=40))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert all(isinstance(value, Fraction) for value in numbers(text))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1,000 apples", "1000"),
        ("007", "007"),
        ("2/4", "2/4"),
        ("5 million", ""),
        ("- 5", "-5"),
        ("1 1/2 cups", "1 1/2"),
        (r"-\$5", "-5"),
        ("5 or 6", ""),
    ],
)
def test_the_digits_of_a_number_stay_as_they_are_written(text: str, written: str) -> None:
    assert digits(text) == written


@pytest.mark.parametrize(
    "piece", ["(", "\\frac{", "1,", "1 ", "\\text{", "^", "\\text{a}", "1/", "1 000 ", "a ", "-", "{,}"]
)
def test_no_text_keeps_the_reading_busy_for_long(piece: str) -> None:
    started = time.process_time()
    numbers(piece * (4_000 // len(piece)))
    assert time.process_time() - started < 30
