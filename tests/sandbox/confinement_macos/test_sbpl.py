"""Quoting, and which spellings of a path a profile names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_selfdebug.sandbox.confinement.sbpl import ancestors, quote, real_path, spellings

from .evaluator import parse

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(NAMES)
def test_quoting_comes_back_as_it_was(text: str) -> None:
    assert parse(f"(literal {quote(text)})") == [["literal", text]]


@given(NAMES)
def test_a_quoted_text_ends_only_at_its_last_quote(text: str) -> None:
    inner = quote(text)[1:-1]
    assert '"' not in inner.replace("\\\\", "").replace('\\"', "")


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "a\tb", "a\x7fb", "a\udc80b"])
def test_what_cannot_be_quoted_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot name 'a\\"):
        quote(text)


@pytest.mark.parametrize("path", ["relative", "", "//net/x", "/a/../b", "/a/./b", "/a//b", "/a/"])
def test_only_absolute_normal_paths_are_taken(path: str) -> None:
    with pytest.raises(ValueError, match="absolute, normal paths"):
        real_path(path)


def test_the_links_of_every_mac_are_followed() -> None:
    assert [real_path(path) for path in ("/tmp", "/var/x", "/etc/hosts", "/tmpfiles/x", "/private/tmp")] == [
        "/private/tmp",
        "/private/var/x",
        "/private/etc/hosts",
        "/tmpfiles/x",
        "/private/tmp",
    ]


def test_accents_are_named_composed_and_decomposed() -> None:
    assert spellings(["/caf\u00e9"]) == ("/caf\u00e9", "/cafe\u0301")
    assert spellings(["/plain", "/plain"]) == ("/plain",)


def test_the_folders_on_the_way() -> None:
    assert ancestors(["/a/b/c", "/a/d", "/e"]) == ("/a", "/a/b")
