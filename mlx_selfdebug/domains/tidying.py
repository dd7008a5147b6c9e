r"""Take the answer out of a completion, in any domain. The Python domain tidies the answer further (python_tidy.py).

Some models think aloud between tags before they answer. A draft within such thoughts is no part of the answer, and neither is a
special token that the tokenizer spells out as text.

>>> without_thoughts_and_markers("<think>Is it 3?</think>It is 4.<|im_e")
Tidied(code='It is 4.', steps=('thoughts', 'markers'))
"""

from __future__ import annotations

import re

from mlx_selfdebug.domains.base import Tidied

_END_TOKENS = (
    "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>",
    "<|fim_pad|>", "<|file_sep|>", "<end_of_turn>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
)  # fmt: skip
"""The special tokens with which models end a reply. The limit on tokens may cut one off, so its beginning is recognised as well."""
# The pattern of all such beginnings. Code hardly ever ends with "<|", but it may end with "<end", so more is needed of a tag such
# as <end_of_turn> than of a token that begins with "<|".
_CUT_OFF = "|".join(
    re.escape(token[:n]) for token in _END_TOKENS for n in range(2 if token[1] in "|\uff5c" else 5, len(token))
)
_THOUGHT_TAGS = r"(?:seed:)?(?:think|thinking|thoughts?|reasoning|scratchpad)"
# Lengths are limited so that a quotation mark without its partner does not make the search slow.
_PIECE = re.compile(
    rf"""
      # A tag in quotation marks is matched with them. It belongs to a program or pattern, and so does markup such as <s>..</s>.
      (?P<quoted> "(?:\\.|[^"\\\n]){{0,1000}}" | `[^`\n]{{0,1000}}` | (?<!\w\w)'(?:\\.|[^'\\\n]){{0,1000}}'(?!\w)
                | <s>[^\n]{{0,200}}?</s> | <think>[^\w\s]{{1,200}}</think> )
      # The tags and tokens around thoughts. Where a model writes to channels, only the channel "final" is the answer.
    | (?P<opens>  <{_THOUGHT_TAGS}> | \[THINK\] | \u25c1think\u25b7 | <\|begin_of_thought\|> | <\|START_THINKING\|>
                | <\|channel\|>\s*(?:analysis|commentary)\b[^<\n]*<\|message\|> )
    | (?P<closes> </{_THOUGHT_TAGS}> | \[/THINK\] | \u25c1/think\u25b7 | <\|end_of_thought\|> | <\|END_THINKING\|>
                | (?:<\|end\|>\s*<\|start\|>assistant)?<\|channel\|>\s*final\b[^<\n]*<\|message\|> )
      # Any other special token. At the end of the text it may be cut off.
    | (?P<marker> <\|\w{{3,40}}\|> | <\uff5c[^\uff5c\n]{{3,40}}\uff5c> | <(?:start|end)_of_turn> | <eos> | </s>
                | (?:{_CUT_OFF}|</s|(?:^|(?<=\n))</?)\s*\Z )
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Matches the pieces of a completion that matter here: quoted text, the tags of thoughts, and special tokens."""
_BEGINS_MESSAGE = re.compile(r"start|begin|header|channel|message|assistant", re.IGNORECASE)
"""Is found in the special tokens that begin a message, such as ``<|im_start|>``. All other special tokens end the reply."""
_ROLE = re.compile(r"[ \t]*(?:assistant|model)?(?=[ \t]*(?:\n|<))[ \t]*\n?")
"""Matches the role that may follow such a token, as in ``<|im_start|>assistant``."""
_BLOCK = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
"""Matches a fenced block, whose content is the group. The last block may lack its closing fence."""


def fenced_or_whole(text: str) -> Tidied:
    """Return the first fenced block of the answer, or its text before a closing fence if there is no block.

    The code ends with one newline.
    """
    answer = plain_text(text)
    block = _BLOCK.search(answer.code)
    if block and block[1].strip():
        return Tidied(block[1].strip() + "\n", (*answer.steps, "fence"))
    return Tidied(answer.code.split("\n```")[0].strip().removesuffix("```").strip() + "\n", answer.steps)


def plain_text(text: str) -> Tidied:
    """Return the answer in ``text`` without blanks around it, ending with one newline."""
    answer = without_thoughts_and_markers(text)
    return Tidied(answer.code.strip() + "\n", answer.steps)


def without_thoughts_and_markers(text: str) -> Tidied:
    """Return ``text`` without what the model thinks aloud, up to the first special token after the answer.

    Everything before a closing tag without an opening one is a thought, since a chat template may have put the opening tag into the
    prompt. Everything after an opening tag that is never closed is a thought too. The steps of the result are ``thoughts`` if a
    thought was dropped, and ``markers`` if a special token was.
    """
    kept: list[str] = []
    steps: set[str] = set()
    is_thinking = False
    start, end = 0, len(text)  # the part of the answer that is being read, unless the model is thinking
    for piece in _PIECE.finditer(text):
        if piece["closes"]:
            if not is_thinking:
                kept.clear()
            start, is_thinking = piece.end(), False
            steps.add("thoughts")
        elif is_thinking or piece["quoted"]:
            continue
        elif piece["opens"]:
            kept.append(text[start : piece.start()])
            is_thinking = True
            steps.add("thoughts")
        else:
            steps.add("markers")
            has_answer = "".join([*kept, text[start : piece.start()]]).strip()
            if has_answer or not _BEGINS_MESSAGE.search(piece[0]):
                end = piece.start()
                break
            # The answer is in the message that begins here.
            role = _ROLE.match(text, piece.end())
            start = role.end() if role else piece.end()
    if not is_thinking:
        kept.append(text[start:end])
    return Tidied("".join(kept), tuple(step for step in ("thoughts", "markers") if step in steps))
