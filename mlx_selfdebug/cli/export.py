"""Define the command ``export``, which writes the adapter of a run in the form that another program loads."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mlx_selfdebug.cli import options
from mlx_selfdebug.cli.completers import complete_model
from mlx_selfdebug.cli.paths import PathType
from mlx_selfdebug.cli.progress import progress


@click.command("export")
@click.argument("run_path", metavar="RUN", type=PathType())
@click.option(
    "--to",
    "form",
    required=True,
    type=click.Choice(["mlx", "peft", "fused", "gguf"]),
    help="form: adapter for mlx-lm or for PEFT, or a whole model for mlx-lm or as a GGUF file",
)
@click.option("--output", type=PathType(), required=True, help="folder to write, or file for gguf; it must not exist")
@click.option("--bits", type=int, metavar="8", help="with fused: quantize the weights to 8 bits")
@click.option(
    "--dtype",
    type=click.Choice(["f32", "f16", "bf16", "q8_0"]),
    default=None,
    help="with fused and gguf: dtype of the weights (q8_0: gguf alone)  [default: fused: that of this machine; gguf: f16]",
)
@click.option(
    "--model",
    default="",
    metavar="NAME",
    shell_complete=complete_model,
    help="base model  [default: the one that RUN names]",
)
@click.option(
    "--base", default="", metavar="NAME", help="with peft: base model as transformers loads it  [default: its original]"
)
@options.json_option
@options.quiet_option
@options.debug_option
def export_command(
    run_path: Path,
    form: str,
    output: Path,
    bits: int | None,
    dtype: str | None,
    model: str,
    base: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Export the adapter of RUN for other programs.

    RUN is the folder of a run, or of an adapter, which may be one of PEFT. The output is written whole or not at all. A fused model
    has dense weights; with --bits 8 they are quantized, and the difference of logits is printed.

    \b
    Examples:
      mlx-selfdebug export runs/mine --to mlx --output mine-adapter
      mlx-selfdebug export runs/mine --to peft --output mine-peft
      mlx-selfdebug export mine-peft --to mlx --output mine-again
      mlx-selfdebug export runs/mine --to fused --bits 8 --output mine-8bit
      mlx-selfdebug export runs/mine --to gguf --output mine.gguf
    """
    from mlx_selfdebug.exporting.export import export

    exported = export(
        run_path,
        to=form,
        output=output,
        bits=bits,
        dtype=dtype or "",
        model=model,
        base=base,
        progress=progress(quiet=quiet),
    )
    click.echo(json.dumps(exported.to_dict()) if as_json else str(exported))
