"""Run a project's tests again and again inside the sandbox, each time in a fresh copy of one process.

This package runs in the project's own interpreter, which may be any Python from 3.9 on, so it uses the standard library alone and
imports nothing of its surroundings. Its process imports the test framework once, and other modules when it is told to. For every
run it forks (``server.py``). The child runs the tests with some files replaced (``child.py``) and reports each test as it ends
(``reports.py``); the parent ends the child and all that the child has started, and passes the reports on. Runs of the same tests
with the code of one function swapped come from a child that has loaded the project and collected the tests already
(``collected.py``).

Requests and answers are lines of JSON on descriptor 0. What an answer says comes from the project's code, so it may be false.
"""
