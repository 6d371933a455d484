"""Tests of what a custom agent costs: scripted models, an offline conversation, and its cost.

The components are LiveKit's own base classes with a script inside; they report usage as the Deepgram, OpenAI and
Cartesia plugins do. With pytest, the fixture ``voice_cost`` gives the cost of the sessions that a test holds.
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
