"""Render a chat as token ids, in which only the chat template makes control tokens.

The content of a message is only text. Where it names a control token, such as ``<|im_end|>``, it is encoded letter by letter.
Otherwise a task about chat templates, or an attempt that contains ``<|im_end|>``, would end the user's turn in the middle.

If a message names a control token, the template is rendered with a mark in the place of each message's content. The text between
the marks is encoded with control tokens, and the contents without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MARK = "\ue000{}\ue001"
"""The mark of the message with a certain index: the index between two private characters of Unicode, which no template contains."""
_MARKS = re.compile("\ue000(\\d+)\ue001")
"""Matches a mark. Its group is the index of the message."""


def chat_ids(tokenizer: Any, messages: Sequence[Mapping[str, str]], encode: Callable[[str], list[int]]) -> list[int]:
    """Return the token ids of a chat up to where the reply begins. Raises whatever the chat template raises.

    Args:
        tokenizer: a tokenizer of transformers, or mlx-lm's wrapper around one.
        messages: the chat, each message with the keys "role" and "content".
        encode: returns the ids of a text and takes nothing in it for a control token.
    """
    options = {"add_generation_prompt": True, "enable_thinking": False}
    inner = getattr(tokenizer, "_tokenizer", tokenizer)
    controls = [token.content for token in inner.added_tokens_decoder.values() if token.special]
    if not any(control in message["content"] for message in messages for control in controls):
        return list(tokenizer.apply_chat_template([dict(message) for message in messages], **options))
    marked = [{**message, "content": _MARK.format(index)} for index, message in enumerate(messages)]
    rendered = tokenizer.apply_chat_template(marked, tokenize=False, **options)
    ids: list[int] = []
    # Splitting by a pattern with one group returns the text between the matches and the group's matches in turn.
    for position, part in enumerate(_MARKS.split(rendered)):
        if position % 2:
            ids += encode(messages[int(part)]["content"])
        else:
            ids += inner(part, add_special_tokens=False)["input_ids"]
    return ids
