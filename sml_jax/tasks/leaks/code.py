"""Program text copied from a solution into a teacher's turn, whatever its spacing, comments and names of variables."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Sequence
from itertools import pairwise

# A line that only program text has. Its parts are bounded: a line of one word again and again would take the square of
# its length.
_PROGRAM = re.compile(
    r"^[ \t]*(?:(?:async )?def \w+\s*\(|class \w+\s*[:(]|import \w+\s*$|from [\w.]+ import |return\b.*$"
    r"|for .{1,200} in .{1,200}:|while .+:|print\(|\w+ = (?:int\(|list\(|input\())",
    re.MULTILINE,
)
_TOKEN = re.compile(
    r"""\#[^\n]*                                                              # a comment, left out
    | (?<!\w)(?:[rbfu]{1,2}(?=["']))?(?:'[^'\n]{0,200}'|"[^"\n]{0,200}")      # a string; no apostrophe within a word
    | [A-Za-z_]\w* | \d[\w.]*
    | \*\*=? | //=? | [-+*/%&|^<>=!]= | << | >> | -> | [^\s\w`"';]
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Names that no writer chooses.
_FIXED_NAMES = frozenset(keyword.kwlist) | frozenset(dir(builtins)) | {"self", "key"}
_SEPARATOR = "\x00"
_TELLING = 5  # tokens of a line that say more than a step anyone would write
_DISTINCTIVE = 12  # tokens of a line that gives a solution away alone
_MAX_LINES = 200

# Lines that any solution may have, as skeletons with names replaced by "v".
_BOILERPLATE = re.compile(
    r"(?:async )?def .*|class .*|import .*|from .*|@.*|else :|try :|finally :|pass|break|continue"
    r"|return \(? ?[v\d]* ?\)?"
    r"|return (?:True|False|None|\[ \]|\{ \})|v = (?:[v\d]+|\[ \]|\{ \}|[\"'].*|True|False|None)|v [-+]= \d+"
    r"|v = v [-+] \d+|v = v \. \w+ \( \)"
    r"|for v in range \( (?:v|\d+|len \( v \)) (?:, (?:v|\d+|len \( v \)) )?(?:[-+] \d+ )?\) :|for v in v :"
    r"|if v (?:<|<=|==|>) \d+ :(?: return .{1,5})?|if not v :|if __name__ .*"
)


def is_program(gold: str) -> bool:
    """Whether a gold answer is a program of several lines, rather than a number, formula or sentence."""
    return "\n" in gold.strip() and _PROGRAM.search(gold) is not None


def copies_program(solution: str, teacher_text: str, public_text: str) -> bool:
    """Whether a teacher's text copies so much of a solution that it gives the program away.

    It does if it copies one long line, or two neighbouring lines that count, or all lines that count of a program that
    has only one or two. Lines do not count if any program might have them (a signature, an import,
    `for i in range(n):`, `total = 0`, `return total`), nor if `public_text` has them. Spacing, comments, quotes, fences
    and the names of variables make no difference.

    Args:
      solution: the program.
      teacher_text: what the teacher is about to say.
      public_text: the problem's statement and the student's turns.
    """
    lines = [_Code(line) for line in solution.splitlines()[:_MAX_LINES]]
    lines = [line for line in lines if line.telling]
    told, public = _Code(teacher_text), _Code(public_text)
    secret = [line for line in lines if line not in public]
    # One long line says enough.
    if any(line.distinctive and line in told for line in secret):
        return True
    # So do two shorter ones in a row.
    for first, second in pairwise(lines):
        if first in secret and second in secret and told.holds_both(first, second):
            return True
    # Of a body that has one or two telling lines, all of them.
    return len(lines) <= 2 and bool(secret) and all(line in told for line in secret)


class _Code:
    """Text as code tokens, searchable up to the names of its variables."""

    def __init__(self, text: str):
        self.tokens = _tokens(text)
        self.skeleton = [_skeleton_token(self.tokens, at) for at in range(len(self.tokens))]  # variables are "v"
        # One text, so that a run of tokens is found by searching text; where each token starts in it is found when
        # needed.
        self.joined = _SEPARATOR + "".join(token + _SEPARATOR for token in self.skeleton)
        self._token_at: dict[int, int] | None = None

    @property
    def telling(self) -> bool:
        """Whether a line says more than any solution would have."""
        return len(self.tokens) >= _TELLING and not _BOILERPLATE.fullmatch(" ".join(self.skeleton))

    @property
    def distinctive(self) -> bool:
        """Whether a line gives a solution away alone."""
        return len(self._core()) >= _DISTINCTIVE

    def __contains__(self, line: _Code) -> bool:
        return self._find(line.tokens[-len(line._core()) :], line._core()) >= 0

    def holds_both(self, first: _Code, second: _Code) -> bool:
        """Whether two lines stand one after the other (boilerplate between them aside)."""
        at = self._find(first.tokens, first.skeleton)
        second_at = self._find(second.tokens, second.skeleton, after=at) if at >= 0 else -1
        return second_at >= 0 and second_at - at <= len(first.tokens) + _DISTINCTIVE

    def _core(self) -> list[str]:
        """The skeleton of a line; of a long one, without what it is assigned to or that it is returned."""
        if self.skeleton[:1] == ["return"] and len(self.skeleton) > _TELLING * 2:
            return self.skeleton[1:]
        if self.skeleton[:2] == ["v", "="] and len(self.skeleton) > _TELLING * 2:
            return self.skeleton[2:]
        return self.skeleton

    def _find(self, tokens: Sequence[str], skeleton: Sequence[str], after: int = 0) -> int:
        """The first place from which the tokens stand here, their variables renamed one to one; -1 for none."""
        wanted = _SEPARATOR + "".join(token + _SEPARATOR for token in skeleton)
        if self._token_at is None:
            self._token_at, place = {}, 0
            for at, token in enumerate(self.skeleton):
                self._token_at[place] = at
                place += len(token) + 1
        # A run with the right skeleton counts if its variables correspond one to one.
        place = self.joined.find(wanted)
        while place >= 0:
            start = self._token_at[place]
            if start >= after and _is_renaming(tokens, self.tokens[start : start + len(tokens)]):
                return start
            place = self.joined.find(wanted, place + 1)
        return -1


def _tokens(text: str) -> list[str]:
    """The tokens of a text, comments left out, all strings in single quotes."""
    tokens = (match[0] for match in _TOKEN.finditer(text))
    return [
        f"'{token.strip(chr(34) + chr(39))}'" if token[-1] in "\"'" else token for token in tokens if token[0] != "#"
    ]


def _skeleton_token(tokens: Sequence[str], at: int) -> str:
    """The token, or "v" for a name that the writer may choose: no keyword, built-in, attribute or called function."""
    token = tokens[at]
    is_free = token.isidentifier() and token not in _FIXED_NAMES
    if not is_free or (at and tokens[at - 1] == ".") or (at + 1 < len(tokens) and tokens[at + 1] == "("):
        return token
    return "v"


def _is_renaming(left: Sequence[str], right: Sequence[str]) -> bool:
    """Whether two runs of one skeleton differ by a one-to-one renaming."""
    to_right: dict[str, str] = {}
    to_left: dict[str, str] = {}
    return all(
        to_right.setdefault(a, b) == b and to_left.setdefault(b, a) == a for a, b in zip(left, right, strict=True)
    )
