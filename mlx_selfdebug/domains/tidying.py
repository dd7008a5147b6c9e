r"""Take the answer out of a completion, whatever its domain. Python goes on from there in python_tidy.py.

A draft that the model thinks aloud is no answer, and neither is a special token that the tokenizer spells out.

>>> without_thoughts_and_markers("<think>Is it 3?</think>It is 4.<|im_e")
Tidied(code='It is 4.', steps=('thoughts', 'markers'))
"""

from __future__ import annotations

import re

from mlx_selfdebug.domains.base import Tidied

_ENDS = (
    "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>",
    "<|fim_pad|>", "<|file_sep|>", "<end_of_turn>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
)  # fmt: skip
"""The tokens that end a reply, for those that the limit on tokens cuts off."""
_CUT_OFF = "|".join(re.escape(end[:n]) for end in _ENDS for n in range(2 if end[1] in "|\uff5c" else 5, len(end)))
_NAMES = r"(?:seed:)?(?:think|thinking|thoughts?|reasoning|scratchpad)"
_PIECE = re.compile(
    rf"""
      (?P<quoted> "(?:\\.|[^"\\\n]){{0,1000}}" | `[^`\n]{{0,1000}}` | (?<!\w\w)'(?:\\.|[^'\\\n]){{0,1000}}'(?!\w)
                | <s>[^\n]{{0,200}}?</s> | <think>[^\w\s]{{1,200}}</think> )
    | (?P<opens>  <{_NAMES}> | \[THINK\] | \u25c1think\u25b7 | <\|begin_of_thought\|> | <\|START_THINKING\|>
                | <\|channel\|>\s*(?:analysis|commentary)\b[^<\n]*<\|message\|> )
    | (?P<closes> </{_NAMES}> | \[/THINK\] | \u25c1/think\u25b7 | <\|end_of_thought\|> | <\|END_THINKING\|>
                | (?:<\|end\|>\s*<\|start\|>assistant)?<\|channel\|>\s*final\b[^<\n]*<\|message\|> )
    | (?P<marker> <\|\w{{3,40}}\|> | <\uff5c[^\uff5c\n]{{3,40}}\uff5c> | <(?:start|end)_of_turn> | <eos> | </s>
                | (?:{_CUT_OFF}|</s|(?:^|(?<=\n))</?)\s*\Z )
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Matches what is no part of an answer. A tag inside quotation marks is matched with them: it belongs to a program or pattern."""
_BEGINS = re.compile(r"start|begin|header|channel|message|assistant", re.IGNORECASE)
_ROLE = re.compile(r"[ \t]*(?:assistant|model)?(?=[ \t]*(?:\n|<))[ \t]*\n?")
_BLOCK = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def fenced_or_whole(text: str) -> Tidied:
    """Return the first fenced block of the answer, or else its text before a closing fence. The code ends with one newline."""
    answer = plain_text(text)
    block = _BLOCK.search(answer.code)
    if block and block[1].strip():
        return Tidied(block[1].strip() + "\n", (*answer.steps, "fence"))
    return Tidied(answer.code.split("\n```")[0].strip().removesuffix("```").strip() + "\n", answer.steps)


def plain_text(text: str) -> Tidied:
    """Return the answer in ``text`` with nothing but one newline after it."""
    answer = without_thoughts_and_markers(text)
    return Tidied(answer.code.strip() + "\n", answer.steps)


def without_thoughts_and_markers(text: str) -> Tidied:
    """Return ``text`` without what the model thinks aloud, up to the first special token after the answer.

    Everything before a closing tag is a thought, also without an opening tag, which a chat template may have put into the prompt.
    So is everything after an opening tag that is never closed. The steps are named ``thoughts`` and ``markers``.
    """
    kept, start, thinking, steps = list[str](), 0, False, set[str]()
    end = len(text)
    for piece in _PIECE.finditer(text):
        if piece["closes"]:
            if not thinking:
                kept.clear()
            start, thinking = piece.end(), False
            steps.add("thoughts")
        elif thinking or piece["quoted"]:
            continue
        elif piece["opens"]:
            kept.append(text[start : piece.start()])
            thinking = True
            steps.add("thoughts")
        else:
            steps.add("markers")
            if "".join([*kept, text[start : piece.start()]]).strip() or not _BEGINS.search(piece[0]):
                end = piece.start()
                break
            role = _ROLE.match(text, piece.end())
            start = role.end() if role else piece.end()
    if not thinking:
        kept.append(text[start:end])
    return Tidied("".join(kept), tuple(step for step in ("thoughts", "markers") if step in steps))
