"""Read a proof script for Lean, and refuse everything in it that is more than tactics.

>>> tactics_of("  intro n -- first\\n  rfl\\n")
['intro n', 'rfl']

A script is what follows ``:= by`` in a theorem. No sign marks its end: to Lean, it ends where a command begins. So these are
refused:

- words that begin a command, such as ``theorem`` or ``open``;
- words that admit a goal without a proof, such as ``sorry``;
- words that run code, such as ``native_decide``;
- the signs ``#`` and ``@[`` and the backquote, which begin commands and attributes, and quote syntax;
- strings, characters, and names in guillemets («a b»), since words and comments mean nothing within them, and this module would
  have to find their ends exactly as Lean does.

A refused word is refused wherever it stands, even as the name of a hypothesis, where it would be harmless. Any letter outside of
ASCII ends a word here, though not always in Lean. So such a letter cannot hide a refused word beside it.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Mapping

from mlx_selfdebug.proving.lean_source import without_comments
from mlx_selfdebug.proving.script import ScriptError, UnreadableError, require_short

MAX_LINES = 1000
"""The maximum number of lines in a script."""
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
"""The words that are refused, each with what it would do, as a refusal says it."""
_REFUSED_PATTERNS = {
    r"\w*sorry\w*": "admits a goal without a proof",
    r"(?:register|declare|builtin|initialize)_\w+": "begins a command",
    r"(?:elab|macro|syntax)_\w+": "changes what words and signs mean",
    r"run_\w+|unsafe\w*|dbg\w*": "runs code",
}
"""Patterns of further words that are refused, in small or capital letters."""
_REFUSED_COMPILED = [(re.compile(pattern, re.IGNORECASE), reason) for pattern, reason in _REFUSED_PATTERNS.items()]
# A word, a number with the letters that follow it, or a sign that is refused.
_TOKEN = re.compile(
    r"""(?P<word>[A-Za-z_][A-Za-z0-9_'!?]*) | (?P<number>\d[\w'!?]*) | ["'`#«»]""",
    re.VERBOSE,
)
# A recursive local definition ("let rec"), and the beginning of attributes ("@["). White space may stand between their two parts.
_TWO_PARTS = re.compile(r"\b(?:let|have)\s+rec\b|@\s*\[")
# Primes after a letter outside of ASCII, as in "δ'". They belong to a name, and do not begin a character.
_PRIMES = re.compile(r"(?<=[^\x00-\x7f])(?<=\w)'+")
_ASCII_DIGITS = re.compile(r"[0-9]+")


def tactics_of(script: str) -> list[str]:
    """Return the lines of a script without comments and without the indentation that they share.

    No line is left out, except empty ones at the end, so line numbers stay the same. Raises ScriptError if the script is empty,
    has a comment or string that does not end, exceeds a limit, or holds more than tactics.
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
    # The two parts may stand on different lines, so this cannot be found line by line.
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
            if reason := _reason_to_refuse(word):
                return f"{word} is not allowed: it {reason}"
        elif token["number"]:
            # In "1sorry", Lean reads the number 1 and then the word, which this module does not look for.
            if not _ASCII_DIGITS.fullmatch(token["number"]):
                return f"{token['number']} is not allowed: a number may hold digits alone"
        else:
            return f"{token[0]} is not allowed"
    return ""


def _reason_to_refuse(word: str) -> str:
    """Return what a refused word would do, or an empty string for any other word."""
    by_name = REFUSED.get(word.rstrip("'!?"))
    return by_name or next((reason for pattern, reason in _REFUSED_COMPILED if pattern.match(word)), "")
