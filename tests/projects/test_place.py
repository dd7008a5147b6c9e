"""The place of a function travels as text with its task, and names nothing outside of its project."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.projects.place import Place

PLACE = Place("/home/me/shop", "/usr/bin/python3", "shop/prices.py", "total", ("tests/test_prices.py",), 0.2)


def test_a_place_comes_back_as_it_was() -> None:
    assert Place.from_json(PLACE.to_json()) == PLACE


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"root": "/home/me/shop"}', PLACE.to_json().replace("0.2", '"soon"')]
)
def test_what_describes_no_place_is_refused_with_what_is_needed(text: str) -> None:
    with pytest.raises(UsageError, match="it must be a JSON object with root, python, file"):
        Place.from_json(text)


@pytest.mark.parametrize(
    "place",
    [
        replace(PLACE, file="../secrets.py"),
        replace(PLACE, file="/etc/passwd"),
        replace(PLACE, file="shop/../../secrets.py"),
        replace(PLACE, tests=("tests/test_prices.py", "../test_secrets.py")),
    ],
)
def test_a_file_outside_of_the_project_is_refused(place: Place) -> None:
    with pytest.raises(UsageError, match="must be within the project"):
        Place.from_json(place.to_json())


def test_a_project_that_is_gone_is_named_with_what_to_do() -> None:
    with pytest.raises(UsageError, match="the project /home/me/shop is not there") as caught:
        _ = PLACE.project
    assert "functions:FOLDER" in (caught.value.hint or "")
