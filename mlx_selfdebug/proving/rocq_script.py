"""Read a proof script for Rocq, and refuse everything in it that is not a tactic.

>>> [sentence.text for sentence in tactics_of("Proof.\\n  intros n. reflexivity.\\nQed.\\n")]
['intros n.', 'reflexivity.']

A script may do nothing but apply tactics to the goals of the theorem. So every sentence has to be a bullet, a brace or a tactic.
A tactic begins with a small letter (``intros n.``) and a command with a capital one (``Axiom a : False.``). Commands are refused,
since they could admit the goal, add an axiom, redefine a name, load a plugin or write a file. Tactics that admit a goal or start
other programs are refused too.
"""

from __future__ import annotations

import re

from mlx_selfdebug.proving.rocq_sentences import MARK, Sentence, sentences_of
from mlx_selfdebug.proving.script import ScriptError, UnreadableError, require_short

MAX_SENTENCES = 500
"""The maximum number of sentences in a script."""
REFUSED = {
    "admit": "admits a goal without a proof",
    "give_up": "admits a goal without a proof",
    "abstract": "defines another lemma",
    "transparent_abstract": "defines another lemma",
    "native_compute": "compiles and starts a program",
    "native_cast_no_check": "compiles and starts a program",
    "par": "starts other processes",
}
"""The words that are refused in a tactic, each with what it would do, as a refusal says it."""
# A prefix that says to which goals a tactic is applied: "2:", "1-3, 5:", "all:", "!:", "[left]:".
_SELECTOR = r"(?:(?:\d+(?:\s*-\s*\d+)?(?:\s*,\s*\d+(?:\s*-\s*\d+)?)*|all|!|\[\s*\w+\s*\])\s*:\s*)?"
# A tactic is a call by a name with a small first letter, an expression in parentheses, or a list of tactics: "[> a | b]".
_TACTIC = re.compile(_SELECTOR + r"(?:[a-z(]|\[>)", re.DOTALL)
# A string, or a word. Strings are matched so that no word is found in them.
_WORD = re.compile(r'"(?:[^"]|"")*"|[^\W\d][\w\']*')
_FIRST = re.compile(r"Proof\s*\.")
_LAST = re.compile(r"(?:Qed|Defined)\s*\.")


def tactics_of(script: str) -> list[Sentence]:
    """Return the tactics, bullets and braces of a script, without ``Proof.`` at its beginning and ``Qed.`` at its end.

    Raises ScriptError if the script cannot be split into sentences, exceeds a limit, or holds anything else.
    """
    require_short(script)
    try:
        sentences = sentences_of(script)
    except UnreadableError as error:
        raise ScriptError(str(error), error.line) from None
    if len(sentences) > MAX_SENTENCES:
        raise ScriptError(f"the script has {len(sentences)} sentences; at most {MAX_SENTENCES} are allowed")
    if sentences and _FIRST.fullmatch(sentences[0].text):
        del sentences[0]
    if sentences and _LAST.fullmatch(sentences[-1].text):
        del sentences[-1]
    for sentence in sentences:
        _require_tactic(sentence)
    return sentences


def _require_tactic(sentence: Sentence) -> None:
    """Raise ScriptError unless the sentence is a bullet, a brace, or a tactic without refused words."""
    text = sentence.text
    if MARK.fullmatch(text):
        return
    if not _TACTIC.match(text):
        raise ScriptError("a proof may hold only tactics, bullets and braces", sentence.line, text)
    for word in _WORD.findall(text):
        if word in REFUSED:
            raise ScriptError(f"{word} is not allowed: it {REFUSED[word]}", sentence.line, text)
