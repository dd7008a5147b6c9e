"""Define the command ``serve``, which serves a model with the adapter of a run over HTTP."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.completers import complete_model
from mlx_selfdebug.cli.paths import PathType
from mlx_selfdebug.cli.progress import progress
from mlx_selfdebug.errors import UsageError

if TYPE_CHECKING:
    from mlx_selfdebug.exporting.server import Server

TASK = "Write a Python function that reverses a string."
EXAMPLES = """\
curl {address}/chat/completions -H "Content-Type: application/json" \\
  -d '{{"model": "{name}", "messages": [{{"role": "user", "content": "{task}"}}]}}'

from openai import OpenAI

client = OpenAI(base_url="{address}", api_key="none")
messages = [{{"role": "user", "content": "{task}"}}]
print(client.chat.completions.create(model="{name}", messages=messages).choices[0].message.content)
"""


@click.command("serve")
@click.argument("source", metavar="[RUN]", required=False, type=PathType(file_okay=False))
@click.option(
    "--model",
    "model_name",
    metavar="NAME",
    shell_complete=complete_model,
    help="model to serve  [default: that of the run]",
)
@click.option("--name", metavar="TEXT", help="name by which requests ask for it  [default: from the model and the run]")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="address to listen on")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="port; 0 takes any free one"
)
@click.option(
    "--allow-origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="let web pages of this origin read the answers; may be given several times",
)
@options.json_option
@options.quiet_option
@options.debug_option
def serve_command(
    source: Path | None,
    model_name: str | None,
    name: str | None,
    host: str,
    port: int,
    origins: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Serve the adapter of RUN over HTTP, to any client of OpenAI's API, until Ctrl-C.

    RUN is a run or the folder of an adapter. Without RUN, the model of --model is served as it is. What answers is mlx-lm's server,
    in one batch for all requests. It decodes greedily unless a request says otherwise, and serves nothing but this model. There is
    no password: whoever reaches the address can use it, which is this machine alone unless --host says otherwise.

    \b
    Examples:
      mlx-selfdebug serve runs/mine
      mlx-selfdebug serve runs/mine --port 8081 --name coder
      mlx-selfdebug serve --model qwen2.5-coder-0.5b
    """
    if source is None and model_name is None:
        raise UsageError(
            "there is nothing to serve", hint="name a run, or a model: mlx-selfdebug serve --model qwen2.5-coder-0.5b"
        )
    from mlx_selfdebug.exporting.run_adapter import open_run_adapter
    from mlx_selfdebug.exporting.server import Server, model_loader

    opened = open_run_adapter(source, model_name or "") if source else None
    base = opened.model_name if opened else model_name or ""
    load = model_loader(base, opened.adapter if opened else None, progress(quiet=quiet))
    default_name = f"{Path(base).name}-{opened.run.resolve().name}" if opened else Path(base).name
    # Our server logs one line for each request. mlx-lm logs much more at this level, but nothing that a user of the server needs.
    logging.getLogger("mlx_selfdebug.exporting").setLevel(logging.WARNING if quiet else logging.INFO)
    with Server(load, name or default_name, host=host, port=port, origins=origins) as server:
        server.wait_until_loaded()
        # The announcement says that Ctrl-C ends the server, so from then on an interrupt is no error.
        try:
            click.echo(_as_json(server, base, source) if as_json else _announcement(server, base, source))
            if server.is_open:
                click.echo(f"{host} can be reached from the network, and there is no password.", err=True)
            server.serve()
        except KeyboardInterrupt:
            click.echo("\nstopped", err=True)


def _announcement(server: Server, base: str, source: Path | None) -> str:
    """Return a text that says where the model is served, with an example of a request in a shell and in Python."""
    model = f"{base} with the adapter of {source}" if source else base
    examples = EXAMPLES.format(address=server.address, name=server.name, task=TASK)
    return f"{server.name} is served at {server.address}: {model}. Ctrl-C ends it.\n\n{examples}"


def _as_json(server: Server, base: str, source: Path | None) -> str:
    return json.dumps(
        {"address": server.address, "name": server.name, "model": base, "adapter": str(source) if source else None}
    )
