"""Reads the service classes of the installed Pipecat and writes `sources/pipecat/classes.json`; `make pipecat-classes`.

Most services import the SDK of their vendor, so the modules are parsed, not imported. Each class is rebuilt with its
name, module, bases and the usage that its methods report; the package's own functions then read vendor and model.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from otel_voice_cost.sources.pipecat import classes
from otel_voice_cost.sources.pipecat.amounts import Tokens
from otel_voice_cost.sources.pipecat.services import describe, is_speech_reported, read_service_model
from otel_voice_cost.usage import Component, Unit

PATH = Path(classes.__file__).with_name(classes.DATA)
BASES = {
    "pipecat.services.stt_service.STTService": Component.STT,
    "pipecat.services.tts_service.TTSService": Component.TTS,
    "pipecat.services.llm_service.LLMService": Component.LLM,
}
ABSTRACT = re.compile(r"^_|Base(?![a-z])")
VOICE_IS_MODEL = re.compile(r"(\w+)\.model = \1\.voice")
COUNTS = {  # fields of Tokens, by argument of LLMTokenUsage; cached and written tokens are billed by fallback rates
    "prompt_tokens": "prompt",
    "completion_tokens": "completion",
    "input_audio_tokens": "audio_in",
    "output_audio_tokens": "audio_out",
}

# speechmatics-agent-stt 0.3.0, `DEFAULT_MODEL`: the default is in the vendor's SDK.
IN_SDK = {"SpeechmaticsSTTService": {"model": "linden-1"}}

# services/openai/live/llm.py reports the tokens of the model that it delegates to, not the seconds of its own.
REPORTS_ANOTHER_MODEL = {"OpenAILiveLLMService"}

# Modules whose models run where the agent runs, or on a server of the user's.
LOCAL = {"funasr", "kokoro", "moonshine", "ollama", "piper", "pocket_tts", "whisper", "xtts"}


class Modules:
    """The modules of Pipecat, parsed when they are needed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._parsed: dict[str, Module | None] = {}

    def __getitem__(self, name: str) -> Module | None:
        if name not in self._parsed:
            path = self.root.joinpath(*name.split("."))
            path = next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)
            self._parsed[name] = path and Module(self, name, ast.parse(path.read_text(encoding="utf-8")))
        return self._parsed[name]

    def of_services(self) -> Iterator[Module]:
        for path in sorted(self.root.glob("pipecat/services/*/**/*.py")):
            module = self[".".join(path.relative_to(self.root).with_suffix("").parts)]
            assert module is not None
            yield module


class Module:
    """A parsed module: its classes, functions, constants and imports."""

    def __init__(self, modules: Modules, name: str, tree: ast.Module) -> None:
        self.name = name
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.constants = dict(assignments(tree))
        self._modules = modules
        self._imports = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self._types: dict[str, type | None] = {}

    def find(self, name: str) -> tuple[Module, str] | None:
        """Return the module that defines a name used in this one, and the name there."""
        if name in self.classes or name in self.constants:
            return self, name
        module, original = self._imports.get(name, ("", ""))
        imported = self._modules[module] if module.startswith("pipecat.") else None
        return imported.find(original) if imported else None

    def to_type(self, name: str) -> type | None:
        """Return a class without code, of the same name, module and bases; None if it is not Pipecat's."""
        if name not in self.classes:
            found = self.find(name)
            return found[0].to_type(found[1]) if found else None
        if name not in self._types:
            node = self.classes[name]
            bases = [self.to_type(ast.unparse(base).partition("[")[0]) for base in node.bases]
            members = {each.name: reports_speech for each in functions(node) if calls(each, "start_tts_usage_metrics")}
            members |= {"__module__": self.name, "node": node, "source": self}
            self._types[name] = type(name, tuple(base for base in bases if base), members)
        return self._types[name]


def reports_speech(service: Any) -> object:
    """Stands in for a method that reports speech."""
    return service.start_tts_usage_metrics


def assignments(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in getattr(tree, "body", []):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def functions(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (each for each in node.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)))


def calls(node: ast.AST, method: str) -> bool:
    return any(isinstance(each, ast.Attribute) and each.attr == method for each in ast.walk(node))


# the settings that a service begins with


def read_defaults(service_class: type) -> dict[str, Any]:
    """Return the settings that a class sets by itself, the constant ones."""
    inits = list(find_inits(service_class))
    settings = next(filter(None, (read_settings(module, init) for module, init in inits)), {})
    if any(VOICE_IS_MODEL.fullmatch(ast.unparse(statement)) for _, init in inits for statement in init.body):
        settings["model"] = settings["voice"]
    return settings


def find_inits(service_class: type) -> Iterator[tuple[Module, ast.FunctionDef]]:
    for base in service_class.__mro__:
        if "node" in vars(base):
            inits = (each for each in functions(vars(base)["node"]) if each.name == "__init__")
            yield from ((vars(base)["source"], init) for init in inits)


def read_settings(module: Module, init: ast.FunctionDef) -> dict[str, Any]:
    """Return the constant settings that an ``__init__``, or a function that it calls, begins with."""
    helpers = [module.functions[name] for name in names_called(init) if name in module.functions]
    for function in (init, *helpers):
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("Settings") and has_model(call):
                scope = Scope(module, function)
                return {each.arg: scope.evaluate(each.value) for each in call.keywords if each.arg}
    return {}


def names_called(node: ast.AST) -> list[str]:
    return [each.func.id for each in ast.walk(node) if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)]


def has_model(call: ast.Call) -> bool:
    return any(keyword.arg == "model" for keyword in call.keywords)


class Scope:
    """Names in a function: its variables, the defaults of its arguments, and the constants of its module."""

    def __init__(self, module: Module, function: ast.FunctionDef | None = None) -> None:
        self._module = module
        self._names: dict[str, ast.expr | None] = {}
        if function is not None:
            arguments = function.args
            self._names |= zip((each.arg for each in arguments.kwonlyargs), arguments.kw_defaults, strict=True)
            self._names |= reversed(list(assignments(function)))  # the first value of each

    def evaluate(self, node: ast.expr | None) -> Any:
        """Return the value of an expression, None if it is not constant."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name) if name in self._names:
                value = self._names.pop(name)
                try:
                    return self.evaluate(value)
                finally:
                    self._names[name] = value
            case ast.Name(id=name) if found := self._module.find(name):
                module, original = found
                return Scope(module).evaluate(module.constants.get(original))
            case ast.BoolOp(op=ast.Or(), values=values):
                return next(filter(None, map(self.evaluate, values)), None)
            case ast.Attribute(value=value, attr="value"):
                return self.evaluate(value)
            case ast.Attribute(value=ast.Name(id=name), attr=member) if found := self._module.find(name):
                module, original = found
                return dict_of(module.classes.get(original)).get(member)
            case ast.Call(func=ast.Attribute(value=mapping, attr="get"), args=[ast.Constant(value=key)]):
                mapping = self._names.get(mapping.id) if isinstance(mapping, ast.Name) else mapping
                entries = zip(mapping.keys, mapping.values, strict=True) if isinstance(mapping, ast.Dict) else ()
                return next((self.evaluate(value) for name, value in entries if self.evaluate(name) == key), None)
        return None


def dict_of(enumeration: ast.ClassDef | None) -> dict[str, Any]:
    members = assignments(enumeration) if enumeration else ()
    return {name: value.value for name, value in members if isinstance(value, ast.Constant)}


def is_model_required(service_class: type) -> bool:
    """Return True if a service without a model in its settings cannot be made."""
    node = vars(service_class)["node"]
    return any(
        isinstance(each, ast.Raise) and "requires settings.model" in ast.unparse(each) for each in ast.walk(node)
    )


# usage


def find_units(service_class: type, component: Component, *, has_modalities: bool) -> list[Unit]:
    """Return the units that a class reports in a conversation."""
    if component is Component.STT:  # counted by the base class
        return [Unit.AUDIO_SECOND]
    if component is Component.TTS:  # on the span, if not reported
        return [Unit.CHARACTER]
    for base in service_class.__mro__:
        node = vars(base).get("node")
        reported = {keyword.arg for call in usage_calls(node) for keyword in call.keywords} if node else set()
        if base.__name__ in REPORTS_ANOTHER_MODEL:
            return []
        if reported:
            counts = dict.fromkeys(Tokens._fields, 0)
            counts |= {COUNTS[name]: 1 for name in COUNTS if name in reported}
            counts |= {name: 2 for name in ("prompt", "completion") if counts[name]}
            amounts = Tokens(**counts).to_amounts(is_net=False, has_modalities=has_modalities)
            return [unit for unit, amount in amounts.items() if amount]
    return []


def usage_calls(node: ast.ClassDef) -> Iterator[ast.Call]:
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and ast.unparse(each.func).endswith("LLMTokenUsage"):
            yield each


# the list


def read_classes() -> list[dict[str, Any]]:
    """Return an entry for each class that a user may put into a pipeline."""
    root = Path(str(distribution("pipecat-ai").locate_file("")))
    entries = []
    for module in Modules(root).of_services():
        for name in module.classes:
            found = module.to_type(name)
            component = find_component(found)
            if component and not ABSTRACT.search(name):
                entries.append(to_entry(found, component))
    order = list(Component)
    return sorted(entries, key=lambda entry: (entry["component"] == "realtime", order.index(entry["component"])))


def find_component(service_class: type) -> Component | None:
    names = [f"{base.__module__}.{base.__qualname__}" for base in service_class.__mro__]
    return next((BASES[name] for name in names if name in BASES), None)


def to_entry(service_class: type, component: Component) -> dict[str, Any]:
    facts = describe(service_class)
    if component is Component.LLM and (facts.is_realtime or service_class.__name__ in REPORTS_ANOTHER_MODEL):
        component = Component.REALTIME
    settings = read_defaults(service_class) | IN_SDK.get(service_class.__name__, {})
    service = SimpleNamespace(_settings=SimpleNamespace(**settings))
    model = facts.to_model(component, read_service_model(service, component, facts.provider))
    units = find_units(service_class, component, has_modalities=facts.has_response_span)
    entry = {
        "module": service_class.__module__.removeprefix("pipecat.services."),
        "class": service_class.__name__,
        "component": component.value,
        "provider": facts.provider,
        "models": [] if is_model_required(service_class) else [model.model],
        "units": [unit.value for unit in units],
    }
    if model.mode:
        entry["mode"] = model.mode.value
    if remarks := list(find_remarks(service_class, component)):
        entry["remarks"] = remarks
    return entry


def find_remarks(service_class: type, component: Component) -> Iterator[str]:
    """Yield keys of the remarks in `classes.py`."""
    parts = service_class.__module__.split(".")
    if not LOCAL.isdisjoint(parts):
        yield "local"
    if "sagemaker" in parts:
        yield "endpoint"
    if component is Component.TTS and not is_speech_reported(service_class):
        yield "spans"


def to_json(entries: list[dict[str, Any]]) -> str:
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    return f"[\n{lines}\n]\n"


if __name__ == "__main__":
    PATH.write_text(to_json(read_classes()), encoding="utf-8")
