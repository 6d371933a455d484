"""Test the cost of a custom agent: scripted models, an offline conversation, and its cost.

The components are scripted subclasses of LiveKit's base classes; they report usage as the Deepgram, OpenAI and
Cartesia plugins do. Those for Pipecat are in ``otel_voice_cost.testing.pipecat``. With pytest, the fixture
``voice_cost`` returns the cost of the sessions in a test.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .answers import Answer, ToolCall
from .costs import SessionCosts

if TYPE_CHECKING:
    from .components import Microphone, ScriptedLLM, ScriptedSTT, ScriptedTTS, Speaker
    from .conversation import Caller, converse, new_session

__all__ = [
    "Answer",
    "Caller",
    "Microphone",
    "ScriptedLLM",
    "ScriptedSTT",
    "ScriptedTTS",
    "SessionCosts",
    "Speaker",
    "ToolCall",
    "converse",
    "new_session",
]

_CONVERSATION = {"Caller", "converse", "new_session"}


def __getattr__(name: str) -> Any:
    """Import what needs LiveKit when it is asked for: Pipecat's users may not have it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".conversation" if name in _CONVERSATION else ".components", __name__), name)


def __dir__() -> list[str]:
    return __all__
