"""Tools to test the cost of a custom agent: scripted models, an offline conversation, and its cost.

The components are scripted subclasses of LiveKit's base classes; they report usage as the Deepgram, OpenAI and
Cartesia plugins do. With pytest, the fixture ``voice_cost`` returns the cost of the sessions in a test.
"""

from .components import Answer, Microphone, ScriptedLLM, ScriptedSTT, ScriptedTTS, Speaker, ToolCall
from .conversation import Caller, converse, new_session
from .costs import SessionCosts

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
