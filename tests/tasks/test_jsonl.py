"""The file format: what is read, what is written, and every way a file can be wrong."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_selfdebug.errors import TaskError
from mlx_selfdebug.tasks import Checks, Task, load_tasks
from mlx_selfdebug.tasks.jsonl import MAX_LINE_BYTES, MAX_PROBLEMS, dump_tasks, read_tasks
from mlx_selfdebug.tasks.load import shipped_sets

RECORD: dict[str, Any] = {
    "id": "mine/double",
    "statement": "Return n doubled.",
    "entry_point": "double",
    "public": ["assert double(2) == 4"],
    "hidden": ["assert double(5) == 10"],
}
CHECK = "def check(candidate):\n    assert candidate(5) == 10\n"


def line(**changes: Any) -> str:
    return json.dumps({key: value for key, value in {**RECORD, **changes}.items() if value is not None})


def problems(path: Path) -> list[str]:
    with pytest.raises(TaskError) as caught:
        read_tasks(path)
    return [text.removeprefix(str(path)) for text in caught.value.problems]


def test_a_line_becomes_a_task(write):
    assert read_tasks(write(line())) == [
        Task(
            id="mine/double",
            domain="python",
            statement="Return n doubled.",
            entry_point="double",
            public=Checks.from_asserts(["assert double(2) == 4"]),
            hidden=Checks.from_asserts(["assert double(5) == 10"]),
            source="mine",
        )
    ]


def test_checks_may_be_the_source_of_a_function(write):
    [task] = read_tasks(write(line(hidden={"source": CHECK, "setup": "import math"})))
    assert task.hidden == Checks(CHECK, "import math")


def test_the_setup_of_a_line_is_for_both_kinds_of_checks(write):
    [task] = read_tasks(write(line(setup="import math", hidden={"source": CHECK})))
    assert (task.public.setup, task.hidden.setup) == ("import math", "import math")


def test_a_setup_of_the_checks_own_takes_its_place(write):
    [task] = read_tasks(write(line(setup="import math", hidden={"source": CHECK, "setup": "import re"})))
    assert (task.public.setup, task.hidden.setup) == ("import math", "import re")


def test_an_empty_list_means_no_checks(write):
    assert not read_tasks(write(line(public=[])))[0].public


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + line().encode() + b"\r\n\r\n \n")
    assert len(read_tasks(path)) == 1


def test_a_reference_of_another_domain_is_not_read_as_python(write):
    assert read_tasks(write(line(domain="sql", reference="SELECT 1")))[0].reference == "SELECT 1"


def test_all_problems_of_a_file_are_reported_at_once(write):
    path = write(line(id="", entry_point="not a name"), line(), "{", line(hidden=["double(5) =="], statement=None))
    assert [text.split(": ")[0:2] for text in problems(path)] == [
        [":1", "id"],
        [":1", "entry_point"],
        [":3", "line"],
        [":4", "statement"],
        [":4", "hidden[0]"],
    ]


def test_a_problem_says_where_what_which_value_and_what_is_allowed(write):
    expected = (
        ":2: entry_point: not allowed, '2double',"
        " expected the name of the function or class that is tested, or an empty string for a program"
    )
    assert problems(write(line(), line(id="b", entry_point="2double"))) == [expected]


def test_the_message_shows_every_problem(write):
    with pytest.raises(TaskError, match=r"2 problems\n.*:1: id.*\n.*:2: line: not JSON") as caught:
        read_tasks(write(line(id=5), "nonsense"))
    assert "README" in str(caught.value.hint)


def test_an_unknown_key_is_refused_with_the_one_that_was_meant(write):
    [problem] = problems(write(line(starter_cod="def double(n):")))
    assert problem == ":1: starter_cod: unknown field, 'def double(n):', did you mean 'starter_code'?"


def test_an_unknown_key_that_resembles_none_is_refused_with_all(write):
    [problem] = problems(write(line(zzz=1)))
    assert "the known fields are id, statement, entry_point" in problem


def test_a_key_given_twice_is_refused(write):
    assert problems(write(line()[:-1] + ', "id": "b"}')) == [":1: id: given twice, each key may be given only once"]


def test_an_id_used_twice_names_the_first_line(write):
    expected = ":3: id: already used at mine.jsonl:1, 'mine/double', each id may be used only once in a file"
    assert problems(write(line(), "", line())) == [expected]


def test_a_file_without_tasks_is_an_error(write):
    assert problems(write()) == [":1: the file holds no task, expected one JSON object per line"]


def test_bytes_that_are_not_utf8_are_an_error_with_their_place(tmp_path: Path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(line().encode() + b'\n{"id": "\xff"}\n')
    assert problems(path) == [":2: line: not UTF-8 at byte 9, b'\\xff\"}', expected UTF-8"]


@pytest.mark.parametrize("text", ["[[]]", "1", '"text"', "null"])
def test_a_line_that_is_no_object_is_an_error(write, text: str):
    assert "not an object" in problems(write(text))[0]


def test_json_nested_without_end_is_an_error_and_no_crash(write):
    assert problems(write('{"id": ' * 100_000))[0].startswith(":1: line: not JSON")
    with pytest.raises(TaskError, match="not JSON that can be read"):
        read_tasks(write("[" * 100_000))


def test_a_line_too_long_is_refused_and_the_rest_is_still_read(write):
    path = write(line(statement="x" * 3 * MAX_LINE_BYTES), line(id="b", public=5))
    assert [text.split(",")[0] for text in problems(path)] == [":1: line: too long", ":2: public: of the wrong type"]


def test_a_line_of_the_largest_size_is_read(write):
    padding = MAX_LINE_BYTES - len(line(statement=""))
    assert len(read_tasks(write(line(statement="x" * padding)))) == 1


def test_a_thousand_problems_are_counted_but_not_all_shown(write):
    shown = problems(write(*["{,"] * 1000))
    assert (len(shown), shown[-1]) == (MAX_PROBLEMS + 1, "and 900 more")


def test_a_long_value_is_shown_short(write):
    assert len(problems(write(line(id="a b" * 10_000)))[0]) < 200


@pytest.mark.parametrize(
    "field", ["id", "domain", "statement", "entry_point", "starter_code", "data", "reference", "setup"]
)
@pytest.mark.parametrize("value", [5, ["text"], True, {}])
def test_a_field_of_another_type_is_refused(write, field: str, value: object):
    assert problems(write(line(**{field: value})))[0].startswith(f":1: {field}: not a string")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("wrong", "def f(): pass"),
        ("wrong", [5]),
        ("wrong", [""]),
        ("wrong", ["\ud800"]),
        ("difficulty", "very hard"),
        ("difficulty", 3),
        ("pass_rate", "0.5"),
        ("pass_rate", 1.5),
        ("pass_rate", -0.1),
        ("pass_rate", True),
        ("pass_rate", float("nan")),
    ],
)
def test_wrong_answers_difficulty_and_pass_rate_have_their_kinds(write, field: str, value: object):
    [problem] = problems(write(line(**{field: value})))
    assert problem.startswith(f":1: {field}")


@pytest.mark.parametrize("field", ["id", "statement", "entry_point", "public", "hidden"])
def test_a_required_field_may_not_be_missing(write, field: str):
    assert problems(write(line(**{field: None})))[0].startswith(f":1: {field}: missing, ")


@pytest.mark.parametrize("value", ["", "a b", "a\tb", "x" * 201])
def test_an_id_is_printable_without_spaces(write, value: str):
    assert problems(write(line(id=value)))[0].startswith(":1: id: ")


@pytest.mark.parametrize("value", ["", "class", "a-b", "f()", "1f"])
def test_an_entry_point_is_an_identifier(write, value: str):
    assert problems(write(line(entry_point=value)))[0].startswith(":1: entry_point: ")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("assert double(1) ==", "does not parse"),
        ("double(1) == 2", "asserts nothing"),
        (5, "not a string"),
        ("", "asserts nothing"),
        ("assert '\0'", "does not parse"),
        ("assert " + "(" * 500 + ")" * 500, "does not parse"),
    ],
)
def test_an_entry_of_a_list_of_checks_is_an_assert(write, value: object, what: str):
    assert problems(write(line(hidden=["assert double(0) == 0", value])))[0].startswith(f":1: hidden[1]: {what}")


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ({"source": "def chek(candidate): pass"}, "hidden.source: defines no function check"),
        ({"source": "def check(candidate)"}, "hidden.source: does not parse in its line 1"),
        ({"setup": "import math"}, "hidden.source: missing"),
        ({"source": CHECK, "setup": "import"}, "hidden.setup: does not parse"),
        ({"source": CHECK, "set_up": ""}, "hidden.set_up: unknown field"),
        ({"source": 5}, "hidden.source: not a string, 5, expected Python source"),
        ({"source": CHECK, "setup": "\ud800"}, "hidden.setup: contains half a surrogate pair"),
        ("assert double(5) == 10", "hidden: of the wrong type"),
    ],
)
def test_checks_given_as_source_are_held_to_their_form(write, value: object, start: str):
    assert problems(write(line(hidden=value)))[0].startswith(f":1: {start}")


def test_a_reference_must_parse(write):
    assert problems(write(line(reference="def double(n:")))[0].startswith(":1: reference: does not parse in its line 1")


def test_a_reference_must_define_the_entry_point(write):
    assert problems(write(line(reference="def duble(n): return 2 * n")))[0].startswith(
        ":1: reference: does not define 'double'"
    )


def test_half_a_surrogate_pair_is_refused(write):
    assert problems(write(line(statement="\ud800")))[0].startswith(":1: statement: contains half a surrogate pair")


def test_source_with_odd_escapes_is_read_without_a_warning(write):
    assert read_tasks(write(line(hidden=[r"assert double('\d') == '\d\d'"])))


def test_what_cannot_be_read_back_is_not_written(tmp_path: Path):
    with pytest.raises(TaskError, match=":1: id: not allowed"):
        dump_tasks([Task("a b", "python", "Do.", "f")], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_two_tasks_of_one_id_are_not_written(tmp_path: Path):
    with pytest.raises(TaskError, match=r"already used at out\.jsonl:1"):
        dump_tasks([Task("a", "python", "Do.", "f")] * 2, tmp_path / "out.jsonl")


def test_asserts_are_written_as_a_list(write, tmp_path: Path):
    dump_tasks(read_tasks(write(line())), tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == RECORD


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PREPARING = st.builds("made = f({!r})".format, VALUES)
ASSERTS = st.lists(st.builds("assert f({!r}) == {!r}".format, VALUES, VALUES) | PREPARING, max_size=4)
FUNCTIONS = st.builds(
    "# {}\ndef check(candidate):\n    text = '''\n{}'''\n    assert candidate({!r}) == text\n".format,
    st.from_regex(r"[^\W_]*", fullmatch=True),
    st.from_regex(r"[a-z \n]*", fullmatch=True),
    VALUES,
)
SETUPS = st.sampled_from(["", "import math", "def helper(x):\n    return x\n"])
CHECKS = st.builds(Checks.from_asserts, ASSERTS, SETUPS) | st.builds(Checks.from_source, FUNCTIONS, SETUPS)
TASKS = st.builds(
    Task,
    id=st.from_regex(r"[\w/.-]{1,40}", fullmatch=True).filter(str.isprintable),
    domain=st.sampled_from(["python", "sql"]),
    statement=st.text(min_size=1).filter(str.strip),
    entry_point=st.sampled_from(["f", "größe", "_x1"]),
    starter_code=st.text(),
    public=CHECKS,
    hidden=CHECKS,
    data=st.text(),
    reference=st.just(""),
    wrong=st.lists(st.text(min_size=1), max_size=2).map(tuple),
    source=st.just("out"),
    difficulty=st.sampled_from(["", "easy", "medium", "hard"]),
    pass_rate=st.none() | st.floats(0, 1),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TASKS, min_size=1, max_size=4, unique_by=lambda task: task.id))
def test_what_is_written_is_read_back_the_same(tasks: list[Task]):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.jsonl")
        dump_tasks(tasks, path)
        assert read_tasks(path) == tasks


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(str.encode)
    | VALUES.map(lambda value: json.dumps(value).encode())
)
def test_no_file_whatever_does_anything_but_load_or_raise_a_task_error(content: bytes):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "any.jsonl")
        path.write_bytes(content)
        with pytest.raises(TaskError):
            read_tasks(path)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*RECORD, "reference", "setup", "domain", "other"]), VALUES | st.sampled_from([CHECK])
    )
)
def test_no_record_whatever_does_anything_but_load_or_raise_a_task_error(changes: dict[str, object]):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "any.jsonl")
        path.write_text(json.dumps({**RECORD, **changes}))
        with suppress(TaskError):
            assert read_tasks(path)


@pytest.mark.parametrize("name", shipped_sets())
def test_a_shipped_set_is_written_and_read_back_the_same(name: str, tmp_path: Path):
    tasks = [replace(task, source="out") for task in load_tasks(name)]
    dump_tasks(tasks, tmp_path / "out.jsonl")
    assert read_tasks(tmp_path / "out.jsonl") == tasks


def test_programs_come_back_with_their_cases(tmp_path):
    cases = Checks.from_io([("1 2\n", "3\n"), ("", "0\n")])
    task = Task("mine/sum", "python", "Add.", "", public=cases, hidden=cases, source="p")
    dump_tasks([task], tmp_path / "p.jsonl")
    assert read_tasks(tmp_path / "p.jsonl") == [task]


def test_cases_may_be_written_as_pairs(write):
    (task,) = read_tasks(write(line(entry_point="", public=[], hidden={"io": [["1", "2"]]}, reference="print(2)")))
    assert task.hidden == Checks.from_io([("1", "2")])


def test_only_programs_have_no_entry_point(write):
    assert ": entry_point: empty" in problems(write(line(entry_point="")))[0]


@pytest.mark.parametrize("io", [[], ["1"], [["1"]], [["1", 2]], "12"])
def test_cases_that_are_no_pairs_of_texts_are_refused(write, io):
    assert ".io" in problems(write(line(hidden={"io": io})))[0]


def test_a_kind_of_checks_that_does_not_exist_is_refused(write):
    source = "def check(candidate):\n    assert candidate(1)\n"
    assert "kind" in problems(write(line(hidden={"source": source, "kind": "shell"})))[0]
