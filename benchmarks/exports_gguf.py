"""Export a model with an adapter as a GGUF file, read it back, and compare what llama.cpp and this package decode from it.

    python benchmarks/exports_gguf.py [--model qwen2.5-coder-0.5b] [--adapter runs/first/adapter] [--dtype f16]
                                      [--prompts 20] [--tokens 48] [--threads 2] [--output FILE]

Without ``--adapter``, an adapter with small random weights is made: it changes every layer, and therefore the text. Each part is a
process of its own, so that the peak of the export is its own, too:

``export``     writes the file, and gives its size, the time and the process's peak memory
``read back``  compares the file, as our importer reads it, with model and adapter: each tensor bit for bit with the merged weight
               rounded to the dtype, the configuration, and the ids of the prompts
``ours``       decodes greedily from the imported file, whose weights are the rounded ones
``llama.cpp``  decodes greedily from the file, in xllamacpp (pip install xllamacpp). It also renders each chat by the template in
               the file and encodes it, and both are compared with ours. Without xllamacpp, this part is left out

The prompts are those of starter tasks. Where the two texts part, ``margin`` is the difference between our two largest logits there:
a small one means that rounding decides. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import device_name, mx

from mlx.utils import tree_map
from mlx_lm import batch_generate

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.domains import domain_of
from mlx_selfdebug.exporting.gguf import DTYPES, export_gguf
from mlx_selfdebug.models.checksum import sha256_of
from mlx_selfdebug.models.gguf_import import folder_for, import_gguf
from mlx_selfdebug.models.load import Model, load_model, open_model
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.training.adapter import insert_adapter, open_adapter, remove_adapter, save_adapter

DENSE = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
"""The dtypes whose tensors are compared bit for bit. Q8_0 is quantized again on the way."""
SERVER = """
import sys, xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.n_ctx = sys.argv[1], int(sys.argv[2])
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = int(sys.argv[3])
parameters.n_parallel, parameters.port = 1, 0
server = xllamacpp.Server(parameters)
print("listening at", server.listening_address, flush=True)
sys.stdin.read()
"""
CONTEXT = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--dtype", choices=list(DTYPES), default="f16")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="keep the file here")
    parser.add_argument("--part", choices=["export", "ours", "margins"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps({"export": export, "ours": read_back, "margins": margins}[options.part](options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        options.output = options.output or options.folder / "model.gguf"
        exported, ours = in_a_process(options, "export"), in_a_process(options, "ours")
        theirs = of_llama_cpp(options, ours)
        rows = compare(options, ours, theirs["completions"]) if theirs else []
    report(options, exported, ours, theirs, rows)


def in_a_process(options: argparse.Namespace, part: str) -> dict[str, Any]:
    """Return what a part of the benchmark prints in a process of its own."""
    command = [sys.executable, __file__, "--part", part]
    for name in ("model", "adapter", "dtype", "prompts", "tokens", "output", "folder"):
        value = getattr(options, name)
        command += [f"--{name}", str(value)] if value is not None else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def export(options: argparse.Namespace) -> dict[str, Any]:
    model = open_model(options.model)
    adapter = open_adapter(options.adapter or random_adapter(model, options.folder / "random"))
    begin = time.perf_counter()
    export_gguf(model, adapter, options.output, options.dtype)
    seconds = time.perf_counter() - begin
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"export_s": round(seconds, 1), "peak_bytes": peak, "file_bytes": options.output.stat().st_size}


def random_adapter(model: Model, folder: Path) -> Path:
    """Write an adapter to ``folder`` whose updates are a few percent of the weights, and return the folder."""
    settings = insert_adapter(model.network, TrainConfig(), 0)
    mx.random.seed(1)
    weights = model.network.trainable_parameters()
    model.network.update(tree_map(lambda array: array + 0.02 * mx.random.normal(array.shape), weights))
    save_adapter(model.network, folder, settings, model.origin)
    remove_adapter(model.network)
    return folder


def read_back(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the imported file with model and adapter, and decode greedily from it."""
    source = load_model(options.model)
    folder = import_gguf(options.output, options.folder / "models", sha256_of(options.output))
    record: dict[str, Any] = compare_weights(source, options, folder)
    prompts = [ids for _, ids in zip(range(options.prompts), rendered(source), strict=False)]
    keys = [key for key in source.config if key not in ("quantization", "quantization_config", "eos_token_id")]
    del source.network
    imported = load_model(str(folder))
    record["config_differs"] = [key for key in keys if not alike(source.config[key], imported.config.get(key))]
    record["prompts"] = prompts
    record["same_ids"] = prompts == [ids for _, ids in zip(prompts, rendered(imported), strict=False)]
    record["chats"] = [chat_of(imported, message) for _, message in zip(prompts, messages(), strict=False)]
    begin = time.perf_counter()
    decoded = batch_generate(
        imported.network, imported.tokenizer, prompts, max_tokens=options.tokens, return_token_ids=True
    )
    record["decode_s"] = round(time.perf_counter() - begin, 1)
    record["completions"] = decoded.token_ids
    return record


def alike(one: Any, other: Any) -> bool:
    """Return whether two settings are equal, where numbers may be rounded to float32."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-7 * abs(one)
    return bool(one == other)


def compare_weights(source: Model, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if options.dtype not in DENSE:
        return {"tensors": 0, "equal_tensors": 0}
    back = mx.load(str(folder / "model.safetensors"))
    equal = 0
    adapter = open_adapter(options.adapter or options.folder / "random")
    with adapter.applied(source):
        modules = dict(source.network.named_modules())
        for name, array in back.items():
            path, _, parameter = name.rpartition(".")
            module = modules[path]
            if hasattr(module, "fuse"):
                module = module.fuse()
            elif "scales" in module:
                module = dense(module)
            expected = module[parameter]
            expected = expected.astype(DENSE[options.dtype]) if expected.ndim == 2 else expected
            equal += array.dtype == expected.dtype and bool(mx.array_equal(array, expected))
    return {"tensors": len(back), "equal_tensors": equal}


def dense(module: Any) -> dict[str, mx.array]:
    """Return the weight of a quantized layer, by the name of its parameter."""
    scales, biases = module.scales.astype(mx.float32), module.biases.astype(mx.float32)
    weight = mx.dequantize(module.weight, scales, biases, group_size=module.group_size, bits=module.bits)
    return {"weight": weight}


def messages() -> Iterator[dict[str, str]]:
    """Yield the messages that ask for the programs of starter tasks."""
    for task in load_tasks("starter"):
        yield {"role": "user", "content": domain_of(task.domain).prompt(task)}


def rendered(model: Model) -> Iterator[list[int]]:
    """Yield the ids of the prompts of starter tasks."""
    for task, message in zip(load_tasks("starter"), messages(), strict=True):
        yield model.render([message], reply_prefix=domain_of(task.domain).reply_prefix)


def chat_of(model: Model, message: dict[str, str]) -> dict[str, Any]:
    """Return a chat as the template renders it, and its ids."""
    text = model.tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    return {"message": message, "text": text, "ids": model.tokenizer.encode(text, add_special_tokens=False)}


def margins(options: argparse.Namespace) -> dict[str, Any]:
    """Return the difference between the two largest logits after each of the texts in a file."""
    folder = folder_for(options.folder / "models", sha256_of(options.output))
    network = load_model(str(folder)).network
    texts = json.loads((options.folder / "texts.json").read_text())
    largest = [mx.sort(network(mx.array([ids]))[0, -1])[-2:].tolist() for ids in texts]
    return {"margins": [round(first - second, 4) for second, first in largest]}


def of_llama_cpp(options: argparse.Namespace, ours: dict[str, Any]) -> dict[str, Any] | None:
    """Return what llama.cpp makes of the prompts and the chats, or None if xllamacpp is not installed."""
    if importlib.util.find_spec("xllamacpp") is None:
        return None
    with serving(options) as address:
        completions = [complete(address, prompt, options.tokens) for prompt in ours["prompts"]]
        chats, ids = 0, 0
        for chat in ours["chats"]:
            chats += ask(address, "apply-template", {"messages": [chat["message"]]})["prompt"] == chat["text"]
            ids += ask(address, "tokenize", {"content": chat["text"], "parse_special": True})["tokens"] == chat["ids"]
    return {"completions": completions, "same_chats": chats, "same_chat_ids": ids}


@contextmanager
def serving(options: argparse.Namespace) -> Iterator[str]:
    """Run llama.cpp's server in a process of its own, and yield its address."""
    command = [sys.executable, "-c", SERVER, str(options.output), str(CONTEXT), str(options.threads)]
    log = options.folder / "llama.cpp.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("listening at "):
                yield line.split()[-1]
                process.kill()
                return
    raise SystemExit(f"llama.cpp does not start:\n{log.read_text()[-2000:]}")


def complete(address: str, prompt: list[int], n_tokens: int) -> list[int]:
    """Return the ids of a greedy completion by llama.cpp."""
    body = {"prompt": prompt, "n_predict": n_tokens, "temperature": 0, "return_tokens": True, "cache_prompt": False}
    answer = ask(address, "completion", body)
    # llama.cpp ends with the id that ends the completion, and we end before it.
    return list(answer["tokens"][:-1] if answer["stop_type"] == "eos" else answer["tokens"])


def ask(address: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of llama.cpp's server to a request."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        return dict(json.load(response))


def compare(options: argparse.Namespace, ours: dict[str, Any], theirs: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Return for each prompt whether both texts are the same, and if not, where they part and how near a tie that is."""
    rows: list[dict[str, Any]] = []
    parted, texts = [], []
    for prompt, our, their in zip(ours["prompts"], ours["completions"], theirs, strict=True):
        rows.append({"tokens": len(our), "same": list(our) == list(their)})
        if not rows[-1]["same"]:
            pairs = enumerate(zip(our, their, strict=False))
            shared = next((i for i, (a, b) in pairs if a != b), min(len(our), len(their)))
            rows[-1]["at"] = shared
            parted.append(rows[-1])
            texts.append([*prompt, *our[:shared]])
    if parted:
        (options.folder / "texts.json").write_text(json.dumps(texts))
        for row, margin in zip(parted, in_a_process(options, "margins")["margins"], strict=True):
            row["margin"] = margin
    return rows


def report(
    options: argparse.Namespace,
    exported: dict[str, Any],
    ours: dict[str, Any],
    theirs: dict[str, Any] | None,
    rows: list[dict[str, Any]],
) -> None:
    size, peak = exported["file_bytes"] / 1e9, exported["peak_bytes"] / 1e9
    print(f"export     {size:.2f} GB in {exported['export_s']} s, peak memory {peak:.2f} GB")
    print(f"read back  {ours['equal_tensors']} of {ours['tensors']} tensors equal bit for bit")
    print(f"           settings that differ: {', '.join(ours['config_differs']) or 'none'}")
    print(f"           ids of the prompts: {'the same' if ours['same_ids'] else 'others'}")
    record = {
        "benchmark": "exports_gguf", "model": options.model, "dtype": options.dtype, **exported,
        **{key: ours[key] for key in ("tensors", "equal_tensors", "config_differs", "same_ids", "decode_s")},
        "prompts": len(ours["prompts"]), "device": device_name(), "machine": platform.machine(),
        "versions": {name: version(name) for name in ("mlx", "mlx-lm", "gguf")},
    }  # fmt: skip
    if theirs is None:
        print("llama.cpp  left out: pip install xllamacpp")
    else:
        chats, ids = theirs["same_chats"], theirs["same_chat_ids"]
        record |= {"same_chats": chats, "same_chat_ids": ids, "texts": rows}
        record["same_texts"] = sum(row["same"] for row in rows)
        record["versions"]["xllamacpp"] = version("xllamacpp")
        print(f"llama.cpp  {chats} of {len(rows)} chats are rendered alike, {ids} encoded alike")
        print(f"           {record['same_texts']} of {len(rows)} greedy texts are the same")
        for i, row in enumerate(rows):
            where = "the same" if row["same"] else f"part at token {row['at']}, where our margin is {row['margin']}"
            print(f"  prompt {i + 1:2}: {row['tokens']:3} tokens, {where}")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
