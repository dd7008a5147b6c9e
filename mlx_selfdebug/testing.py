"""Make models, tasks and attempts for tests, those of this package and your own.

There are three kinds of models. A tiny model is a real MLX network with random weights and a byte-level tokenizer. It is built in
about a second and runs the real code, but it says nothing sensible. A taught model is a tiny model that was trained to answer each
task with one of some given programs, right or wrong, so that a whole loop can be run on it. A scripted model decodes nothing: a
function of yours returns its completions.

    def test_a_wrong_draft_is_repaired(tmp_path):
        task = make_task("double", "x + x")
        model = ScriptedModel(lambda prompt, seed: fenced("def double(x):\\n    return x + x"))
        with sd.Run(tmp_path / "run") as run:
            attempts = sd.collect(run, model, [task])
        assert all(attempt.passed for attempt in attempts)
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.sampling.decodable import DecodingCounts
from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.checks import Checks
from mlx_selfdebug.values.task import Task
from mlx_selfdebug.values.verdict import Verdict

if TYPE_CHECKING:
    from mlx_selfdebug.models.load import Model
    from mlx_selfdebug.sampling.reading import Reading

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The chat template of tiny models, in the form that Qwen models use."""
_RECURRENT = {
    "full_attention_interval": 2,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 16,
}
"""The settings that only the architecture with recurrent layers has."""
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""The tokens of tiny models that are not bytes."""
ARCHITECTURES = ("qwen2", "llama", "qwen3", "qwen3_5")
"""The architectures of tiny models. In ``qwen3_5``, every second layer has a recurrent state instead of keys and values."""


def write_tiny_model(
    folder: str | Path, *, seed: int = 0, hidden_size: int = 64, layers: int = 2, architecture: str = "qwen2"
) -> Path:
    """Write a model with random weights and one token per byte to ``folder``, and return ``folder``.

    Raises ValueError for an architecture that is not one of ``ARCHITECTURES``.
    """
    from mlx_selfdebug.models.backend import mx  # isort: skip

    from mlx.utils import tree_flatten

    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture is {architecture!r}; it must be one of {', '.join(ARCHITECTURES)}")
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    config = _tiny_config(architecture, hidden_size, layers)
    module = import_module(f"mlx_lm.models.{architecture}")
    mx.random.seed(seed)
    network = module.Model(module.ModelArgs.from_dict(config))
    mx.save_safetensors(str(path / "model.safetensors"), dict(tree_flatten(network.parameters())))
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _write_tokenizer(path)
    return path


def _tiny_config(architecture: str, hidden_size: int, layers: int) -> dict[str, Any]:
    """Return the content of config.json, in which mlx-lm finds the sizes of the network."""
    return {
        "model_type": architecture,
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "intermediate_size": 2 * hidden_size,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "vocab_size": 256 + len(SPECIAL_TOKENS),
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "eos_token_id": 256 + SPECIAL_TOKENS.index("<|im_end|>"),
        "head_dim": hidden_size // 4,
        "rope_theta": 10_000.0,
        **(_RECURRENT if architecture == "qwen3_5" else {}),
    }


def _write_tokenizer(path: Path) -> None:
    """Write a tokenizer with one token per byte, no merges, and the special tokens and chat template of Qwen models."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL_TOKENS])
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": CHAT_TEMPLATE,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def tiny_model(folder: str | Path, **options: Any) -> Model:
    """Write a tiny model to ``folder``, load it and return it. ``options`` are passed on to ``write_tiny_model``."""
    from mlx_selfdebug.models.load import load_model

    return load_model(str(write_tiny_model(folder, **options)))


def write_taught_model(
    folder: str | Path, lessons: Mapping[Task, Sequence[str]], *, steps: int = 80, **options: Any
) -> Path:
    """Write a tiny model that was trained to answer tasks, and return ``folder``.

    ``lessons`` holds some programs for each task. The model answers a task with one of its programs, each about equally often. If
    a task has a right and a wrong program, the model sometimes solves the task and sometimes fails, so there are pairs to train
    on. The training makes ``steps`` steps and takes some seconds. ``options`` are passed on to ``write_tiny_model``.
    """
    from mlx_selfdebug.models.backend import mx, nn, optim  # isort: skip

    from mlx.utils import tree_flatten

    model = tiny_model(folder, **options)
    rows = [_lesson(model, task, code) for task, codes in lessons.items() for code in codes]
    length = max(len(row) for row, _ in rows)
    ids = mx.array([row + [0] * (length - len(row)) for row, _ in rows])
    positions = mx.arange(1, length)
    # The loss counts the tokens of the completions, and neither those of the prompts nor the padding.
    mask = mx.stack([(positions >= start) & (positions < len(row)) for row, start in rows])

    def loss(network: Any) -> Any:
        losses = nn.losses.cross_entropy(network(ids[:, :-1]), ids[:, 1:])
        return (losses * mask).sum() / mask.sum()

    network = model.network
    optimizer, step = optim.Adam(learning_rate=3e-3), nn.value_and_grad(network, loss)
    for _ in range(steps):
        _, gradient = step(network)
        optimizer.update(network, gradient)
        mx.eval(network.parameters(), optimizer.state)
    mx.save_safetensors(str(Path(folder) / "model.safetensors"), dict(tree_flatten(network.parameters())))
    return Path(folder)


def _lesson(model: Model, task: Task, code: str) -> tuple[list[int], int]:
    """Return the token ids of the prompt and the completion together, and the position at which the completion begins."""
    domain = domain_of(task.domain)
    message = {"role": "user", "content": domain.prompt(task)}
    prompt = model.render([message], reply_prefix=domain.reply_prefix)
    return [*prompt, *model.encode(domain.completion(code)), model.tokenizer.eos_token_id], len(prompt)


def make_task(
    name: str = "square",
    expression: str = "x * x",
    *,
    public: Sequence[Any] = (3,),
    hidden: Sequence[Any] = (4, 5, -1),
    statement: str = "",
) -> Task:
    """Return the Python task of writing a function ``name(x)`` whose value is ``expression``.

    There is one public check for each argument in ``public`` and one hidden check for each in ``hidden``. The expected values are
    computed from ``expression``.

    >>> make_task("double", "x + x").reference
    'def double(x):\\n    return x + x\\n'
    """

    def checks(arguments: Sequence[Any]) -> Checks:
        return Checks.from_asserts([f"assert {name}({x!r}) == {eval(expression, {'x': x})!r}" for x in arguments])

    return Task(
        id=f"test/{name}",
        domain="python",
        statement=statement or f"Return {expression}.",
        entry_point=name,
        starter_code=f"def {name}(x):",
        public=checks(public),
        hidden=checks(hidden),
        reference=f"def {name}(x):\n    return {expression}\n",
        source="test",
    )


def fenced(code: str) -> str:
    """Return ``code`` followed by a closing fence: the completion of a prompt that ends with an opening fence."""
    return f"{code.strip()}\n```"


def make_attempt(**changes: Any) -> Attempt:
    """Return an attempt that passed its two checks, with the fields of ``changes`` replaced.

    The verdict on the public checks is the same as ``verdict`` unless ``changes`` holds ``public``.
    """
    verdict = changes.get("verdict", Verdict("passed", n_passed=2, n_checks=2))
    values: dict[str, Any] = {
        "task_id": "test/square",
        "arm": "collect",
        "sample": 0,
        "round": 0,
        "parent": "",
        "prompt": "Write it.",
        "completion": "def square(x):\n    return x * x\n",
        "code": "def square(x):\n    return x * x\n",
        "verdict": verdict,
        "public": verdict,
        "n_prompt_tokens": 5,
        "n_completion_tokens": 9,
        "seed": 2**62,
        "finish": "fence",
    }
    return Attempt(**{**values, **changes})


class ScriptedModel:
    """A language model whose completions are what ``reply(prompt, seed)`` returns. Each character is one token.

    ``prompt`` is the chat as text, followed by the beginning of the completion if the request prescribes one. ``seed`` is the
    seed of the attempt. The attribute ``asked`` lists all requests so far.

    >>> ScriptedModel(lambda prompt, seed: "def f():\\n    return 1\\n")
    ScriptedModel('scripted')
    """

    def __init__(self, reply: Callable[[str, int], str], *, name: str = "scripted") -> None:
        self.name = name
        self.origin = f"scripted:{name}"
        self.context = 1 << 30
        self.eos_ids: frozenset[int] = frozenset()
        self.asked: list[Request] = []
        self._reply = reply

    def __repr__(self) -> str:
        return f"ScriptedModel({self.name!r})"

    def render(self, messages: list[dict[str, str]], *, reply_prefix: str = "") -> list[int]:
        text = "".join(f"{m['role']}: {m['content']}\n" for m in messages) + f"assistant: {reply_prefix}"
        return [ord(character) for character in text]

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        return [ord(character) for character in text], list(range(len(text) + 1))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.spans(text)[0] for text in texts]

    def spell(self, id_: int) -> str:
        return chr(id_)

    def decoder(self, *, max_rows: int, **_: Any) -> ScriptedDecoder:
        return ScriptedDecoder(self, max_rows)

    def reply(self, request: Request) -> str:
        """Return the reply to a request, and add the request to ``asked``."""
        self.asked.append(request)
        return self._reply("".join(map(chr, request.prompt + request.given)), request.seed)


class ScriptedDecoder:
    """The decoder of a scripted model. Each step completes up to ``width`` requests, in the order in which they were submitted.

    It has the methods and attributes of the decoder of a real model (``sampling/language_model.py``).
    """

    def __init__(self, model: ScriptedModel, width: int) -> None:
        self.counts = DecodingCounts()
        self.shares_cores = False
        self.min_rows = 1
        self.width = width
        self.active = 0
        self._model = model
        self._queue: deque[tuple[int, Request]] = deque()
        self._tickets = count()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def limit(self, width: int) -> None:
        """Ignore the limit. It is meant to save memory, and a script takes none."""

    def submit(self, request: Request) -> int:
        ticket = next(self._tickets)
        self._queue.append((ticket, request))
        return ticket

    def read(self, prompt: tuple[int, ...], program: tuple[int, ...], breaks: Sequence[int] = ()) -> Reading:  # noqa: ARG002
        """Return a reading in which no token is more surprising than another."""
        from mlx_selfdebug.sampling.reading import indifferent_reading

        return indifferent_reading(program, len(prompt))

    def log_likelihood(
        self,
        prompt: tuple[int, ...],  # noqa: ARG002
        reading: Reading,  # noqa: ARG002
        program: tuple[int, ...],
        breaks: Sequence[int] = (),  # noqa: ARG002
    ) -> float:
        """Return a number that makes shorter programs likelier."""
        return -float(len(program))

    def step(self) -> list[Completion]:
        """Complete up to ``width`` waiting requests."""
        batch = [self._queue.popleft() for _ in range(min(self.width, self.waiting))]
        completions = [_completion(ticket, request, self._model.reply(request)) for ticket, request in batch]
        self.counts.decoded_tokens += sum(completion.n_tokens for completion in completions)
        return completions


def _completion(ticket: int, request: Request, reply: str) -> Completion:
    """Return the completion of a request: the beginning that the request prescribes, followed by ``reply``.

    As in a real decoder, the request is asked after each line whether the completion ends there.
    """
    given = "".join(map(chr, request.given))
    line_ends = [i + 1 for i, character in enumerate(reply) if character == "\n"]
    for end in line_ends:
        if request.ended and request.ended(given + reply[:end]):
            return Completion(ticket, given + reply[:end], end, request.ended_as)
        if request.on_text:
            request.on_text(given + reply[:end])
    return Completion(ticket, given + reply, len(reply), "fence")
