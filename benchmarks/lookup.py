"""Compare greedy repairs that are decoded alone, with their next tokens guessed from the prompt and without.

    python benchmarks/lookup.py [--model qwen2.5-coder-0.5b] [--repairs 50] [--guesses 15] [--max-tokens 300]
                                [--timed N] [--ways whole ended] [--peers 8]

Every repair is one of a bug that was put into the reference of a starter task, asked for as the package asks. Each is decoded
alone, with guesses (``lookup``) and without (``plain``), which take turns at going first. This is done twice: in ``whole``, a
repair goes on until it ends by itself; in ``ended``, it also ends where it only repeats the failed program, as in a run. Of the
first few repairs, ``mlx_lm.stream_generate`` decodes as many tokens as well. It computes a single row instead of 16.

Without guesses, 50 repairs take most of an hour on two cores. ``--timed N`` decodes only the first N of them alone and without
guesses. The others are then decoded without guesses in one batch, which only shows that the tokens are the same.

Tokens per second are those of decoding; the time that the prompts take is shown beside them. ``ratio`` is the number of tokens per
second with a guess divided by that without, on the repairs that both sides decoded alone. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from mlx_selfdebug.models.backend import device_name

from mlx_lm import stream_generate
from plain_layers import plain_layers

from mlx_selfdebug.models.load import Model, load_model
from mlx_selfdebug.repair.asking import Asked, Asking, Decoding
from mlx_selfdebug.repair.bugs import find_bugs, mutated
from mlx_selfdebug.repair.policies import Move
from mlx_selfdebug.sampling.decoder import BatchDecoder
from mlx_selfdebug.sampling.language_model import complete
from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.sandbox import Limits, TestRunner
from mlx_selfdebug.tasks import load_tasks

WAYS = ("whole", "ended")
SIDES = ("plain", "lookup")


@dataclass
class Side:
    """What one side decoded in one of the ways, and how long that took."""

    decoder: BatchDecoder
    completions: list[Completion] = field(default_factory=list)
    """What was decoded alone, by repair."""
    in_batch: list[Completion] = field(default_factory=list)
    """What was decoded in a batch, by repair; these are the repairs after those that were decoded alone."""
    seconds: list[float] = field(default_factory=list)
    """The time that decoding took, by repair."""
    prefill_s: float = 0.0
    steps: int = 0
    guessed: int = 0
    accepted: int = 0

    def decode(self, request: Request) -> None:
        before = replace(self.decoder.counts)
        [completion] = complete(self.decoder, [request])
        after = self.decoder.counts
        self.completions.append(replace(completion, ticket=0))
        self.seconds.append(after.decode_s - before.decode_s)
        self.prefill_s += after.prefill_s - before.prefill_s
        self.steps += after.steps - before.steps
        self.guessed += after.guessed_tokens - before.guessed_tokens
        self.accepted += after.accepted_tokens - before.accepted_tokens

    @property
    def tokens(self) -> int:
        return sum(completion.n_tokens for completion in self.completions)

    def tokens_per_s(self, n: int | None = None) -> float:
        """Return the tokens per second on the first ``n`` repairs, or on all."""
        return sum(completion.n_tokens for completion in self.completions[:n]) / sum(self.seconds[:n])

    def row(self) -> dict[str, Any]:
        return {
            "tokens": self.tokens,
            "steps": self.steps,
            "decode_s": sum(self.seconds),
            "prefill_s": self.prefill_s,
            "tokens_per_s": self.tokens_per_s(),
            "guessed": self.guessed,
            "accepted": self.accepted,
        }


@dataclass
class Peer:
    """mlx-lm, which decodes a single row with its own layers."""

    model: Model
    tokens: int = 0
    seconds: float = 0.0

    def decode(self, request: Request, n_tokens: int) -> None:
        """Decode ``n_tokens`` greedily. The first of them, which ends the computing of the prompt, does not count."""
        begin, n = 0.0, -1
        with plain_layers(self.model):
            stream = stream_generate(
                self.model.network, self.model.tokenizer, list(request.prompt), max_tokens=n_tokens
            )
            for _ in stream:
                begin, n = begin or time.perf_counter(), n + 1
        self.tokens, self.seconds = self.tokens + n, self.seconds + time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--repairs", type=int, default=50)
    parser.add_argument("--guesses", type=int, help="tokens to guess at a time; the decoder's default if not given")
    parser.add_argument("--max-tokens", type=int, default=300)
    parser.add_argument("--timed", type=int, help="repairs decoded alone without guesses; all if not given")
    parser.add_argument("--peers", type=int, default=8, help="repairs that mlx-lm decodes as well")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    model = load_model(options.model)
    requests = repairs(model, options.repairs, options.max_tokens)
    print(f"{len(requests)} repairs, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    peer = Peer(model)
    ways = compare(model, requests, peer, options)
    machine = {"machine": platform.machine(), "device": device_name(), "python": platform.python_version()}
    versions = {name: version(name) for name in ("mlx", "mlx-lm")}
    result = {"repairs": len(requests), "ways": show(ways), "load_average": os.getloadavg()[0]}
    if peer.seconds:
        result["peer"] = show_peer(peer, ways[options.ways[0]], options.peers)
    print(json.dumps({"benchmark": "lookup", "model": options.model, **machine, **versions, **result}))


def repairs(model: Model, n: int, max_tokens: int) -> list[Request]:
    """Return the requests for greedy repairs of ``n`` bugs in starter tasks, at most one in each task."""
    candidates = {task.id: mutated(task, 0) for task in load_tasks("starter")}
    with TestRunner(2, Limits(wall_s=3, cpu_s=3)) as runner:
        bugs = find_bugs(candidates, runner, limit=n)
    decoding = Decoding(0.0, 0.0, max_tokens, 1, 6 * 10**9)
    asking = Asking(model, [bug.candidate.task for bug in bugs], decoding, 0, "lookup")
    asked = [asking.ask(bug.candidate.task, Move(0, 1, bug.to_attempt("given", bug.candidate.id))) for bug in bugs]
    return [one.request for one in asked if isinstance(one, Asked)]


def compare(
    model: Model, requests: Sequence[Request], peer: Peer, options: argparse.Namespace
) -> dict[str, dict[str, Side]]:
    decoders = [BatchDecoder(model, 16, guesses=n) for n in (0, options.guesses)]
    for decoder in decoders:
        list(complete(decoder, [Request(requests[0].prompt, max_tokens=4)]))  # only warms up
    ways = {way: {name: Side(decoder) for name, decoder in zip(SIDES, decoders, strict=True)} for way in options.ways}
    n_timed = len(requests) if options.timed is None else options.timed
    for i, request in enumerate(requests):
        for way, sides in ways.items():
            for name in SIDES[:: -1 if i % 2 else 1] if i < n_timed else ("lookup",):
                sides[name].decode(in_way(way, request))
        if i < min(options.peers, n_timed):
            peer.decode(request, ways[options.ways[0]]["plain"].completions[i].n_tokens)
        print(f"  {i + 1} of {len(requests)}", end="", flush=True)
        for name, side in ways[options.ways[0]].items():
            print(f"; {name} {side.tokens} tokens, {side.steps} steps, {side.tokens_per_s():.2f} tokens/s", end="")
        print(flush=True)
    for way, sides in ways.items():
        rest = complete(BatchDecoder(model, 16, guesses=0), [in_way(way, request) for request in requests[n_timed:]])
        ordered = sorted(rest, key=lambda completion: completion.ticket)
        sides["plain"].in_batch = [replace(completion, ticket=0) for completion in ordered]
    return ways


def in_way(way: str, request: Request) -> Request:
    return request if way == "ended" else replace(request, ended=None)


def show(ways: dict[str, dict[str, Side]]) -> dict[str, Any]:
    """Print the table, and return its rows."""
    print(f"{'':16}{'tokens':>8}{'steps':>7}{'decode, s':>11}{'prompts, s':>12}{'tokens/s':>10}{'accepted':>10}")
    rows: dict[str, Any] = {}
    for way, sides in ways.items():
        rows[way] = {name: side.row() for name, side in sides.items()}
        for name, row in rows[way].items():
            accepted = f"{row['accepted'] / row['guessed']:10.0%}" if row["guessed"] else f"{'-':>10}"
            print(
                f"{way:8}{name:8}{row['tokens']:8}{row['steps']:7}{row['decode_s']:11.1f}{row['prefill_s']:12.1f}"
                f"{row['tokens_per_s']:10.1f}{accepted}"
            )
        plain, lookup = (sides[name] for name in SIDES)
        n_timed = len(plain.completions)
        both = zip([*plain.completions, *plain.in_batch], lookup.completions, strict=True)
        same = sum(a == b for a, b in both)
        ratio = lookup.tokens_per_s(n_timed) / plain.tokens_per_s()
        rows[way] |= {"ratio": ratio, "same": same, "timed": n_timed}
        print(
            f"{way:8}{ratio:.2f} times the tokens per second on {n_timed} repairs; "
            f"{same} of {len(lookup.completions)} completions are the same"
        )
    return rows


def show_peer(peer: Peer, sides: dict[str, Side], n: int) -> dict[str, Any]:
    """Print how fast each side is on the repairs that mlx-lm decoded as well, and return the figures."""
    rates = {"mlx-lm": peer.tokens / peer.seconds, **{name: side.tokens_per_s(n) for name, side in sides.items()}}
    print(f"first {n}: " + ", ".join(f"{name} {rate:.1f} tokens/s" for name, rate in rates.items()))
    return {"repairs": n, "tokens_per_s": rates}


if __name__ == "__main__":
    main()
