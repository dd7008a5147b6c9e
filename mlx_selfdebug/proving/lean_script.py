"""Read a proof script for Lean, and refuse everything in it that is more than tactics.

>>> tactics_of("  intro n -- first\\n  rfl\\n")
['intro n', 'rfl']

A script is what follows ``:= by``. Lean has no end for it: whatever can begin a command ends it. So a script may not hold a word
that begins a command, and not the signs with which a script could speak about Lean's syntax or take part in it: ``#``, ``@[``, a
backquote. Words that admit a goal or run code are refused as well. Where a refused word would be harmless, as in the name of a
hypothesis, it is refused all the same.

Names in guillemets, strings and characters are refused, since the words and comments in them would have to be read as Lean reads
them. Letters other than those of ASCII end a word here, though not always in Lean. So no sign can hide the word beside it.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Mapping

from mlx_selfdebug.proving.lean_source import without_comments
from mlx_selfdebug.proving.script import ScriptError, UnreadableError, require_short

MAX_LINES = 1000
"""The largest number of lines in a script."""
_REASONS = {
    "admits a goal without a proof": "sorry admit stop sorryAx lcProof lcAny lcUnreachable lcInv",
    "states or defines something beside the proof": (
        "theorem lemma def abbrev instance example axiom constant opaque structure class inductive coinductive mutual where "
        "termination_by decreasing_by deriving alias irreducible_def proof_wanted add_decl_doc compile_inductive unif_hint "
        "init_quot gen_injective_theorems"
    ),
    "begins a command": (
        "namespace section end open export import prelude module universe universes variable variables include omit private "
        "protected public meta noncomputable nonrec partial local scoped seal unseal suppress_compilation "
        "unsuppress_compilation library_note recommended_spelling deprecated_module grind_pattern assert_not_exists "
        "assert_not_imported tactic_extension add_aesop_rules erase_aesop_rules"
    ),
    "changes settings": "set_option unset_option attribute",
    "changes what words and signs mean": (
        "macro macro_rules syntax notation notation3 infix infixl infixr prefix postfix elab elab_rules binder_predicate simproc "
        "simproc_decl dsimproc dsimproc_decl extend_docs"
    ),
    "runs code": (
        "native native_decide bv_decide bv_check ofReduceBool ofReduceNat reduceBool reduceNat trustCompiler implemented_by extern "
        "initialize by_elab eval include_str decl_name unsafe unsafeCast unsafeIO unsafeEIO unsafeBaseIO IO EIO BaseIO Lean panic "
        "run_cmd run_tac run_elab run_meta run_conv"
    ),
}
REFUSED: Mapping[str, str] = {word: reason for reason, words in _REASONS.items() for word in words.split()}
"""Words that may not stand in a script, and what they would do."""
_KINDS = {
    r"\w*sorry\w*": "admits a goal without a proof",
    r"(?:register|declare|builtin|initialize)_\w+": "begins a command",
    r"(?:elab|macro|syntax)_\w+": "changes what words and signs mean",
    r"run_\w+|unsafe\w*|dbg\w*": "runs code",
}
"""Patterns of further words that are refused, without regard to small and capital letters."""
_KIND = [(re.compile(pattern, re.IGNORECASE), reason) for pattern, reason in _KINDS.items()]
_TOKEN = re.compile(
    r"""(?P<word>[A-Za-z_][A-Za-z0-9_'!?]*) | (?P<number>\d[\w'!?]*) | ["'`#«»]""",
    re.VERBOSE,
)
# A local definition, and the beginning of attributes.
_TWO_PARTS = re.compile(r"\b(?:let|have)\s+rec\b|@\s*\[")
# A prime after a letter that is not of ASCII belongs to a name, as it does in a word.
_PRIMES = re.compile(r"(?<=[^\x00-\x7f])(?<=\w)'+")
_ASCII_DIGITS = re.compile(r"[0-9]+")


def tactics_of(script: str) -> list[str]:
    """Return the lines of a script without comments and without the indentation that they share.

    There are as many of them as the script has. Raises ScriptError if the script is empty, cannot be read, exceeds a limit, or
    holds more than tactics.
    """
    require_short(script)
    try:
        text = without_comments(script)
    except UnreadableError as error:
        raise ScriptError(str(error), error.line) from None
    if not text.strip():
        raise ScriptError("the script holds no tactic")
    lines = text.rstrip().split("\n")
    if len(lines) > MAX_LINES:
        raise ScriptError(f"the script has {len(lines)} lines; at most {MAX_LINES} are allowed")
    for number, line in enumerate(lines, 1):
        if reason := _refusal(line):
            raise ScriptError(reason, number, line.strip())
    # Its two words, or signs, may stand on different lines.
    if match := _TWO_PARTS.search(text):
        number = text.count("\n", 0, match.start()) + 1
        raise ScriptError(f"{' '.join(match[0].split())} is not allowed", number, lines[number - 1].strip())
    return [line.rstrip() for line in textwrap.dedent("\n".join(lines)).split("\n")]


def _refusal(line: str) -> str:
    """Return why a line is refused, or an empty string."""
    for character in line:
        if character != " " and (character.isspace() or unicodedata.category(character)[0] in "CZ"):
            return f"the character {unicodedata.name(character, hex(ord(character)))} is not allowed"
    for token in _TOKEN.finditer(_PRIMES.sub(" ", line)):
        word = token["word"]
        if word:
            reason = REFUSED.get(word.rstrip("'!?")) or next((why for kind, why in _KIND if kind.match(word)), "")
            if reason:
                return f"{word} is not allowed: it {reason}"
        elif token["number"]:
            # A word may follow a number without a space.
            if not _ASCII_DIGITS.fullmatch(token["number"]):
                return f"{token['number']} is not allowed: a number may hold digits alone"
        else:
            return f"{token[0]} is not allowed"
    return ""
