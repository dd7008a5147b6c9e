"""Run a project's tests again and again inside the sandbox, each time in a fresh fork of one process.

This package runs in the project's own interpreter, which may be any Python from 3.9 on. It therefore uses the standard library
alone, and imports nothing of the package around it.

- ``server.py`` is the process that stays. It imports the test framework once, imports other modules on request, and forks a child
  for each run. When a run ends, it kills the child and everything that the child started, and answers with the child's reports.
- ``child.py`` is the child. It runs the tests with some files replaced. ``with_pytest.py``, ``with_unittest.py`` and
  ``with_script.py`` each run one kind of test.
- ``reports.py`` reports each test as it ends, and ``tracer.py`` records the lines that it runs.
- ``collected.py`` is a child that has loaded the project and collected the tests. A run that changes only the body of one function
  is forked from it, and ``swapping.py`` puts the new body into the loaded function.

Requests (``messages.py``) and answers are lines of JSON on descriptor 0. An answer comes from a process in which the project's code
runs, so it may be false.
"""
