"""Make token edits: put one of the model's favourite tokens in the place of a token of the program or before it, or drop the token.

Let the model prefer ``+`` to the token ``-`` of ``return a - b``. The edits at this token are then ``return a + b``,
``return a + - b`` and ``return a b``. Token edits work on any text, whatever its language and whether or not it parses.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.program_reading import ProgramReading

MAX_FAVOURITES = 8
"""The number of the model's favourite tokens that are tried at each place."""


def token_edits(program: ProgramReading) -> Iterator[tuple[Edit, float]]:
    """Yield, for every token, the edits that put another token in its place or before it, and the edit that drops it.

    Each edit comes with its log-ratio in nats: the log-likelihood of the token that stands at the place after the edit, minus the
    log-likelihood of the program's own token.
    """
    reading, starts, end_of_body = program.reading, program.starts, len(program.body)
    # When a token is dropped, the one after it stands in its place.
    next_likelihoods = reading.log_likelihood_of(range(len(reading) - 1), reading.ids[1:].tolist())
    for i, own in enumerate(reading.log_likelihood):
        start, end = starts[i], starts[i + 1]
        # Tokens after the body close the completion. A token without text is a part of a character.
        if end > end_of_body or end <= start:
            continue
        favourites = zip(reading.others[i, :MAX_FAVOURITES], reading.others_log_likelihood[i], strict=False)
        for id_, likelihood in favourites:
            text = program.speller.spell(int(id_))
            if text and "\ufffd" not in text:  # U+FFFD stands for a part of a character.
                ratio = float(likelihood - own)
                yield Edit(start, end, text, "token"), ratio
                yield Edit(start, start, text, "inserted token"), ratio
        if i < len(next_likelihoods):
            yield Edit(start, end, "", "dropped token"), float(next_likelihoods[i] - own)
