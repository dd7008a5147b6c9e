"""Task statements that several sets share."""

from __future__ import annotations

_MEND = """\
This function is wrong. Write it correctly.

```python
{code}
```

-----
It should do this:

{statement}"""


def to_be_mended(code: str, statement: str) -> str:
    """Return a statement that asks for ``code`` to be corrected so that it does what ``statement`` says."""
    return _MEND.format(code=code.strip("\n"), statement=statement)
