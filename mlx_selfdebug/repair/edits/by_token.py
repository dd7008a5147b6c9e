"""Token edits: where the model would rather have another token than the program has, it gets it.

They work on any text, whatever its language and whether or not it parses.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlx_selfdebug.repair.edits.edit import Edit
from mlx_selfdebug.repair.reading import ProgramReading

OTHERS = 8
"""Of the likeliest others at a place, so many are tried."""


def token_edits(program: ProgramReading) -> Iterator[tuple[Edit, float]]:
    """Yield, for every token, the edits that put another in its place or before it, and the one that drops it.

    With each comes its log-ratio in nats: the log-likelihood of what then stands at that place, minus the token's own.
    """
    reading, starts, end_of_body = program.reading, program.starts, len(program.body)
    next_ones = reading.log_likelihood_of(range(len(reading) - 1), reading.ids[1:].tolist())
    for i, own in enumerate(reading.log_likelihood):
        start, end = starts[i], starts[i + 1]
        if end > end_of_body or end <= start:
            continue
        for id_, likelihood in zip(reading.others[i, :OTHERS], reading.others_log_likelihood[i], strict=False):
            text = program.speller.spell(int(id_))
            if text and "\ufffd" not in text:
                ratio = float(likelihood - own)
                yield Edit(start, end, text, "token"), ratio
                yield Edit(start, start, text, "inserted token"), ratio
        if i < len(next_ones):
            yield Edit(start, end, "", "dropped token"), float(next_ones[i] - own)
