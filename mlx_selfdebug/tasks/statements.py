"""Word the statements that several task sets share."""

from __future__ import annotations

_REPAIR = """\
This function is wrong. Write it correctly.

```python
{code}
```

-----
It should do this:

{statement}"""


def repair_statement(code: str, statement: str) -> str:
    """Return a statement that shows the wrong function ``code`` and asks to write it so that it does what ``statement`` says."""
    return _REPAIR.format(code=code.strip("\n"), statement=statement)
