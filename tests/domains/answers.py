"""Answers as a model of 0.5B writes them, what should be taken out of each, and the steps that does.

Written by hand after what Qwen2.5-Coder says with and without the fence put into its mouth. Every answer is to the task ``TASK``.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx_selfdebug.values.task import Task

TASK = Task(
    "t",
    "python",
    "Return the numbers that are larger than the limit.",
    "above",
    "from typing import List\n\ndef clip(n):\n    return max(n, 0)\n\ndef above(numbers: List[int], limit: int) -> List[int]:",
)
SIGNATURE = "def above(numbers: List[int], limit: int) -> List[int]:\n"
PLAIN = "def above(numbers, limit):\n    return [n for n in numbers if n > limit]\n"
IMPORTED = "from typing import List\n\n\n" + SIGNATURE + "    return [n for n in numbers if n > limit]\n"
LONGER = """\
def above(numbers, limit):
    result = []
    for n in numbers:
        if n > limit:
            result.append(n)
    return result
"""
DRAFT = "def above(numbers, limit):\n    return []\n"
STOPPING = "def above(numbers, limit):\n    return ['<|im_end|>', \"</s>\"]\n"
TAGGED = "def above(numbers, limit):\n    return '</think>'.join(numbers).replace(\"<think>\", '')\n"
BODY = LONGER.partition("\n")[2]
UNDER = SIGNATURE + BODY


@dataclass(frozen=True)
class Answer:
    name: str
    text: str
    code: str
    steps: tuple[str, ...] = ()


def _same(name: str, text: str, *steps: str) -> Answer:
    return Answer(name, text, text, steps)


def _indented(text: str, by: str = "    ") -> str:
    return "".join(by + line if line.strip() else line for line in text.splitlines(keepends=True))


RIGHT = [
    _same("code alone", PLAIN),
    _same("code with its import", IMPORTED),
    _same("code without the import of its annotations", UNDER, "imports"),
    _same(
        "code that uses the starter code's helper",
        "def above(a, b):\n    return [n for n in a if clip(n) > b]\n",
        "imports",
    ),
    _same("code that forgot import math", "def above(a, b):\n    return [math.floor(n) for n in a]\n", "imports"),
    _same("code that forgot from collections import Counter", "def above(a, b):\n    return Counter(a)\n", "imports"),
    _same("tests and prints after the function", PLAIN + "\nassert above([1, 2], 1) == [2]\nprint(above([3], 2))\n"),
    _same("a main guard", PLAIN + '\nif __name__ == "__main__":\n    print(above([1, 5], 3))\n'),
    _same("tabs", LONGER.replace("    ", "\t")),
    _same("carriage returns that Python accepts", PLAIN.replace("\n", "\r\n")),
    _same("a lambda", "above = lambda numbers, limit: [n for n in numbers if n > limit]\n"),
    _same("self by habit, a wrong program", "def above(self, numbers, limit):\n    return numbers\n"),
    _same(
        "a fence inside a docstring",
        'def above(a, b):\n    """Example:\n\n    ```\n    above([1], 0)\n    ```\n    """\n    return a\n',
    ),
    _same("a typographic quote inside a string", "def above(a, b):\n    return '\u201cno\u201d'\n"),
    _same("a chat marker inside a string", "def above(a, b):\n    return '<|im_end|>'\n"),
    _same("an unfinished last line that is a name", PLAIN + "\nresu\n"),
]

TIDIED = [
    Answer("a closing fence", PLAIN + "```", PLAIN, ("fence",)),
    Answer("a closing fence and an explanation", PLAIN + "```\n\nThis function filters the list.", PLAIN, ("fence",)),
    Answer("a closing fence on the last line of code", PLAIN.rstrip() + "```\nThis works.", PLAIN, ("fence",)),
    Answer("a second opening fence", "```python\n" + PLAIN + "```", PLAIN, ("fence",)),
    Answer("an opening fence never closed", "```python\n" + PLAIN, PLAIN, ("fence",)),
    Answer(
        "prose, a fence, an explanation",
        f"Here is the code:\n\n```python\n{PLAIN}```\n\nIt uses a comprehension.",
        PLAIN,
        ("fence",),
    ),
    Answer("a tag in capitals", f"```Python3\n{PLAIN}```", PLAIN, ("fence",)),
    Answer("a tag py", f"Sure!\n```py\n{PLAIN}```", PLAIN, ("fence",)),
    Answer("no tag", f"Sure!\n```\n{PLAIN}```\n", PLAIN, ("fence",)),
    Answer("tildes", f"~~~python\n{PLAIN}~~~\nDone.", PLAIN, ("fence",)),
    Answer("a usage block first", f"Usage:\n```python\nprint(1)\n```\nCode:\n```python\n{PLAIN}```", PLAIN, ("fence",)),
    Answer("a block of output after", f"```python\n{PLAIN}```\nOutput:\n```\n[2, 3]\n```", PLAIN, ("fence",)),
    Answer("a shell block before", f"```bash\npip install numpy\n```\n```python\n{PLAIN}```", PLAIN, ("fence",)),
    Answer(
        "two versions, the first is taken",
        f"```python\n{PLAIN}```\nOr simpler:\n```python\n{LONGER}```",
        PLAIN,
        ("fence",),
    ),
    Answer(
        "fences in a docstring in a fence",
        'Here:\n```python\ndef above(a, b):\n    """Like\n    ```\n    above([1], 0)\n    ```\n    """\n    return a\n```\nDone.',
        'def above(a, b):\n    """Like\n    ```\n    above([1], 0)\n    ```\n    """\n    return a\n',
        ("fence",),
    ),
    Answer(
        "a fenced block in a list",
        f"1. First:\n\n   ```python\n{_indented(PLAIN, '   ')}   ```\n",
        PLAIN,
        ("fence", "dedent"),
    ),
    Answer("a fence without its import", f"```python\n{UNDER}```\nThis filters.", UNDER, ("fence", "imports")),
    Answer("the end of turn", PLAIN + "<|im_end|>", PLAIN, ("markers",)),
    Answer("the end of turn and a new one", PLAIN + "<|im_end|>\n<|im_start|>user\nThanks", PLAIN, ("markers",)),
    Answer("the end of text after a fence", f"```python\n{PLAIN}```<|endoftext|>", PLAIN, ("markers", "fence")),
    Answer("an end of turn that is cut off", PLAIN + "<|im_e", PLAIN, ("markers",)),
    Answer("an end of text that is cut off after its first two characters", PLAIN + "<|", PLAIN, ("markers",)),
    Answer(
        "a marker in a string and another after a sentence",
        f"Sure:\n{STOPPING}<|im_end|>",
        STOPPING,
        ("markers", "prose"),
    ),
    Answer("a wrong draft in a thought", f"<think>\n{DRAFT}No.\n</think>\n\n{PLAIN}", "\n\n" + PLAIN, ("thoughts",)),
    Answer(
        "a fenced draft in a thought",
        f"<think>\n```python\n{DRAFT}```\nNo.\n</think>\n```python\n{PLAIN}```",
        PLAIN,
        ("thoughts", "fence"),
    ),
    Answer(
        "a thought that the prompt began",
        f"So:\n```python\n{DRAFT}```\nNo.</think>\n{PLAIN}",
        "\n" + PLAIN,
        ("thoughts",),
    ),
    Answer("a thought after the answer", f"{PLAIN}<think>\n{DRAFT}</think>", PLAIN, ("thoughts",)),
    Answer("a thought after the answer that is cut off", f"{PLAIN}<thinking>\n{DRAFT}", PLAIN, ("thoughts",)),
    Answer("an answer between tags", f"<answer>\n{PLAIN}</answer>", PLAIN, ("prose",)),
    Answer(
        "a tag of thoughts in a string, before an explanation",
        f"{TAGGED}```\nIt drops <think> tags.",
        TAGGED,
        ("thoughts", "fence"),
    ),
    Answer("the start of the turn", f"<|im_start|>assistant\n{PLAIN}<|im_end|>", PLAIN, ("markers",)),
    Answer("uniform indentation", _indented(PLAIN), PLAIN, ("dedent",)),
    Answer("indentation that only the first line lost", _indented(IMPORTED).lstrip(), IMPORTED, ("dedent",)),
    Answer("a sentence before", "Here is the function:\n\n" + PLAIN, PLAIN, ("prose",)),
    Answer(
        "a sentence after",
        LONGER + "\nThis function returns the list of numbers above `limit`.",
        LONGER + "\n",
        ("prose",),
    ),
    Answer(
        "sentences around",
        f"Sure! Here's the code:\n\n{PLAIN}\nThe function takes two arguments.\n",
        PLAIN + "\n",
        ("prose",),
    ),
    Answer(
        "a heading and a list after",
        PLAIN + "\n**Explanation**\n\n- The list is filtered.\n- It is returned.\n",
        PLAIN + "\n",
        ("prose",),
    ),
    Answer("one word before and a sentence after", f"Solution\n\n{PLAIN}\nIt filters the list.", PLAIN, ("prose",)),
    Answer(
        "an explanation in Chinese",
        PLAIN + "\n\u8fd9\u4e2a\u51fd\u6570\u8fd4\u56de\u4e00\u4e2a\u5217\u8868\u3002\n",
        PLAIN + "\n",
        ("prose",),
    ),
    Answer("an example in prose", PLAIN + "\nExample usage: above([1, 2], 1) returns [2]\n", PLAIN + "\n", ("prose",)),
    Answer("an indented block after a sentence", "The code is:\n\n" + _indented(PLAIN), PLAIN, ("dedent", "prose")),
    Answer("a body, indented", BODY, UNDER, ("bare_body", "imports")),
    Answer(
        "a body, not indented",
        "return [n for n in numbers if n > limit]\n",
        SIGNATURE + "    return [n for n in numbers if n > limit]\n",
        ("bare_body", "imports"),
    ),
    Answer("a body whose first line lost its indentation", BODY.lstrip(), UNDER, ("bare_body", "imports")),
    Answer(
        "a body with a docstring",
        '    """Filter."""\n' + BODY,
        SIGNATURE + '    """Filter."""\n' + BODY,
        ("bare_body", "imports"),
    ),
    Answer("a body in a fence", f"```python\n{BODY}```\nThis is it.", UNDER, ("fence", "bare_body", "imports")),
    Answer(
        "a body and an explanation",
        BODY + "\nThis returns the result.",
        UNDER + "\n",
        ("prose", "bare_body", "imports"),
    ),
    Answer("a body after a sentence", "The body is:\n\n" + BODY, UNDER, ("prose", "bare_body", "imports")),
    Answer(
        "a body and a call after",
        BODY + "\nprint(above([1], 0))\n",
        UNDER + "\nprint(above([1], 0))\n",
        ("bare_body", "imports"),
    ),
    Answer(
        "typographic quotes",
        "def above(numbers, limit):\n    return \u201cnone\u201d\n",
        'def above(numbers, limit):\n    return "none"\n',
        ("unicode",),
    ),
    Answer("non-breaking spaces", LONGER.replace("    ", "\u00a0\u00a0\u00a0\u00a0"), LONGER, ("unicode",)),
    Answer("a byte order mark", "\ufeff" + PLAIN, PLAIN, ("unicode",)),
    Answer(
        "odd spaces outside, typographic quotes inside a string",
        "def above(a,\u00a0b):\n    return '\u201cno\u201d'\n",
        "def above(a, b):\n    return '\u201cno\u201d'\n",
        ("unicode",),
    ),
    Answer("cut off in a call", PLAIN + "\nprint(above([1, 2,", PLAIN + "\n", ("truncated",)),
    Answer("cut off in a string", PLAIN + "\nprint('The result", PLAIN + "\n", ("truncated",)),
    Answer(
        "cut off in a second function",
        PLAIN + "\ndef test():\n    assert above([1], 0) == [1",
        PLAIN + "\n",
        ("truncated",),
    ),
    Answer("cut off in a docstring", PLAIN + '\ndef test():\n    """Tests the\nfunction', PLAIN + "\n", ("truncated",)),
    Answer("cut off after an operator", PLAIN + "\nx = above([1], 0) ==", PLAIN + "\n", ("truncated",)),
    Answer(
        "cut off after a sentence before",
        f"Here it is:\n\n{PLAIN}\nprint(above([",
        PLAIN + "\n",
        ("prose", "truncated"),
    ),
    Answer(
        "cut off in a fence", f"Here it is:\n```python\n{PLAIN}\nprint(above([", PLAIN + "\n", ("fence", "truncated")
    ),
]

WRONG = [
    _same("nothing", ""),
    Answer("a thought and nothing after", f"<think>\n{PLAIN}</think>\n", "\n", ("thoughts",)),
    Answer("a thought that never ends", f"<think>\nFirst:\n```python\n{PLAIN}```\nBut", "", ("thoughts",)),
    Answer("a thought and a turn that ends in it", f"<think>\n{PLAIN}<|im_end|>", "", ("thoughts",)),
    _same("a comparison that is cut off", "def above(numbers, limit):\n    return numbers <"),
    _same("prose alone", "I cannot do that.\n"),
    _same("another function's name", "def filter_above(numbers, limit):\n    return numbers\n"),
    _same("a method of a class", "class Solution:\n    def above(self, numbers, limit):\n        return numbers\n"),
    _same("a bracket never closed in the entry point", "def above(numbers, limit):\n    return [n for n in (numbers\n"),
    _same("an entry point cut off", "def above(numbers, limit):\n    result = []\n    for n in"),
    _same("an error in the entry point", "def above(numbers, limit):\n    return numbers if\n\nprint(1)\n"),
    _same("an error in a helper before", "def helper(:\n    return 1\n\n" + PLAIN),
    _same("an error after, not at the end", PLAIN + "\nx = = 3\nprint(x)\n"),
    _same("an error after a comment", PLAIN + "\n# Helper of the above\ndef helper(:\n    return 1\n"),
    _same("an error on the last line that more text would not mend", PLAIN + "\nx = = 3\n"),
    _same("mixed tabs and spaces", "def above(numbers, limit):\n    x = 1\n\treturn x\n"),
    _same("JavaScript", "function above(numbers, limit) {\n    return numbers.filter(n => n > limit);\n}\n"),
    _same("a body that returns nothing", "print(numbers)\n"),
    Answer(
        "a broken program in a fence",
        "Here:\n```python\ndef above(a, b:\n    return a\n```\nDone.",
        "def above(a, b:\n    return a\n",
        ("fence",),
    ),
    _same("a broken program before a marker in a string", "def above(a, b:\n    return a\n"),
]

ANSWERS = [*RIGHT, *TIDIED, *WRONG]
