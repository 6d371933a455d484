"""The English of code and pages: a few patterns that confuse readers do not occur."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import otel_voice_cost

PACKAGE = Path(otel_voice_cost.__path__[0])
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")])
CLAUSE = re.compile(r"(What|Which|Whether|Where|How)\b")  # where a noun phrase or a verb belongs
UNWANTED = re.compile(r"\b(beside|mend|anew)\b", re.IGNORECASE)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_docstring_begins_with_a_verb_or_a_noun(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, DOCUMENTED)]

    assert [text.splitlines()[0] for text in docstrings if CLAUSE.match(text)] == []


@pytest.mark.parametrize("path", [*MODULES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_unwanted_words_occur_nowhere(path):
    lines = path.read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if UNWANTED.search(line)] == []
