"""The layout of the package: modules that may know a framework, and the number of top-level modules."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import otel_voice_cost
from otel_voice_cost.sources import Role
from otel_voice_cost.sources.livekit.spans import IGNORED_SPANS, SPAN_RULES
from otel_voice_cost.sources.pipecat.spans import SPAN_RULES as PIPECAT_SPAN_RULES
from otel_voice_cost.usage import Component

ROOT = Path(otel_voice_cost.__path__[0])
MODULES = sorted(path for path in ROOT.rglob("*.py"))
NOT_CORE = {"livekit", "pipecat", "demo", "testing", "cli"}
CORE = [path for path in MODULES if not NOT_CORE & set(path.relative_to(ROOT).parts)]
COMMON = {"turn", *(word.value for words in (Role, Component) for word in words)}  # words of the core too
SPAN_NAMES = {*SPAN_RULES, *IGNORED_SPANS, *(name for _, name in PIPECAT_SPAN_RULES)} - COMMON


def strings(path):
    """Every string of a module but its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in docstrings:
            yield node.value


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_a_source_knows_the_names_of_a_framework(path):
    assert [text for text in strings(path) if text.startswith("lk.") or text in SPAN_NAMES] == []


def test_the_root_has_at_most_ten_modules():
    modules = [path.name for path in ROOT.glob("*.py") if path.name != "__init__.py"]

    assert len(modules) <= 10, modules
