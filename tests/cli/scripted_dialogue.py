"""A program for tests: the dialogue of `try` with a scripted model, in whatever terminal or pipe it is started in.

The model answers with what stands behind "answer:" in the statement, or sleeps if the statement says so.
"""

from __future__ import annotations

import re
import sys
import time

import click

from mlx_selfdebug.cli.dialogue import Dialogue
from mlx_selfdebug.cli.main import cli
from mlx_selfdebug.cli.prompting import Prompt
from mlx_selfdebug.cli.transcript import Transcript
from mlx_selfdebug.config import Config
from mlx_selfdebug.stages.tryout import Tryout
from mlx_selfdebug.testing import ScriptedModel, fenced
from mlx_selfdebug.translating.typed import has_example


def reply(prompt: str, seed: int) -> str:
    if "sleep" in prompt:
        click.echo("SLEEPING")
        time.sleep(60)
    expression = re.search(r"answer: (.*)", prompt)
    return fenced(f"def double(x):\n    return {expression[1] if expression else 'None'}")


def main() -> int:
    with click.Context(cli), Tryout(ScriptedModel(reply), Config()) as tryout:
        assert cli.callback is not None
        cli.callback()  # which looks at NO_COLOR
        as_json = "--json" in sys.argv
        return Dialogue(tryout, Transcript(err=as_json), Prompt(has_example), 0, as_json=as_json).hold()


if __name__ == "__main__":
    sys.exit(main())
