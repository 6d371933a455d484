"""The public names: exact, sorted, documented."""

from __future__ import annotations

import importlib.util
import inspect
import json
import pkgutil
import subprocess
import sys

import pytest

import otel_voice_cost

NEEDS_PIPECAT = ("otel_voice_cost.demo.pipecat.", "otel_voice_cost.testing.pipecat")  # which needs Python 3.11
MODULES = [
    module.name
    for module in pkgutil.walk_packages(otel_voice_cost.__path__, "otel_voice_cost.")
    if not module.name.endswith("__main__")
    and (importlib.util.find_spec("pipecat") or not module.name.startswith(NEEDS_PIPECAT))
]


def test_the_public_names():
    assert otel_voice_cost.__all__ == sorted(otel_voice_cost.__all__)
    assert set(otel_voice_cost.__all__) == {
        "Budget",
        "SessionCost",
        "Component",
        "Cost",
        "CostLine",
        "CostPart",
        "Mode",
        "PriceCatalog",
        "PriceError",
        "Rate",
        "Settings",
        "SettingsError",
        "Stats",
        "TurnCost",
        "Unit",
        "UnreportedPart",
        "Usage",
        "VoiceCostError",
        "VoiceCostSpanProcessor",
        "end_call",
        "install",
    }


def test_importing_loads_no_library_that_only_building_needs():
    code = "import json, sys; from otel_voice_cost import VoiceCostSpanProcessor; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    imported = set(json.loads(done.stdout))
    assert "otel_voice_cost.processor" in imported
    assert imported.isdisjoint({"genai_prices", "livekit", "pydantic", "pydantic_settings", "tomllib", "wrapt"})


def test_names_are_imported_when_they_are_asked_for():
    code = "import json, sys, otel_voice_cost; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {name for name in json.loads(done.stdout) if name.startswith("otel_voice_cost.")} == set()


def test_install_is_the_function_whatever_was_imported_before():
    code = "import otel_voice_cost.installation; from otel_voice_cost import install; assert callable(install)"

    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_raises():
    with pytest.raises(AttributeError, match="no attribute 'nix'"):
        otel_voice_cost.nix  # noqa: B018  # the look-up is the test


@pytest.mark.parametrize("name", otel_voice_cost.__all__)
def test_a_public_object_has_docstrings(name):
    thing = getattr(otel_voice_cost, name)

    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        undocumented = [
            member
            for member, value in vars(thing).items()
            if not member.startswith("_") and (callable(value) or isinstance(value, property)) and not value.__doc__
        ]
        assert undocumented == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_lists_its_public_names(name):
    module = importlib.import_module(name)

    assert module.__doc__
    offered = getattr(module, "__all__", [])
    assert all(hasattr(module, member) for member in offered)
