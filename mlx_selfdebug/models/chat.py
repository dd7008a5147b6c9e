"""Render a chat as token ids. A message is only text: where it names a control token, it is encoded letter by letter.

Otherwise a task about chat templates, or an attempt that holds ``<|im_end|>``, would end the user's turn in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MARK = "\ue000{}\ue001"
_MARKS = re.compile("\ue000(\\d+)\ue001")
"""What stands for a message while the template is rendered: characters for private use, which no template has."""


def chat_ids(tokenizer: Any, messages: Sequence[Mapping[str, str]], encode: Callable[[str], list[int]]) -> list[int]:
    """Return the ids of a chat up to where the reply begins. Raises whatever the chat template raises.

    ``encode`` gives the ids of a text in which nothing is a control token.
    """
    options = {"add_generation_prompt": True, "enable_thinking": False}
    inner = getattr(tokenizer, "_tokenizer", tokenizer)
    controls = [token.content for token in inner.added_tokens_decoder.values() if token.special]
    if not any(name in message["content"] for message in messages for name in controls):
        return list(tokenizer.apply_chat_template([dict(message) for message in messages], **options))
    marked = [{**message, "content": _MARK.format(number)} for number, message in enumerate(messages)]
    ids: list[int] = []
    # A split by a pattern with a group gives what is between the matches and what the group matched, in turn.
    for position, part in enumerate(_MARKS.split(tokenizer.apply_chat_template(marked, tokenize=False, **options))):
        is_message = position % 2 == 1
        ids += (
            encode(messages[int(part)]["content"]) if is_message else inner(part, add_special_tokens=False)["input_ids"]
        )
    return ids
