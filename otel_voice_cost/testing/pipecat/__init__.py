"""Test the cost of a Pipecat bot: scripted services, an offline call, and its cost.

The services are scripted subclasses of Pipecat's base classes; they report usage as those of Deepgram, OpenAI and
Cartesia do. With pytest, the fixture ``voice_cost`` returns the cost of the conversations in a test.
"""

from ..answers import Answer, ToolCall
from ..costs import SessionCosts
from .components import ScriptedLLM, ScriptedSTT, ScriptedTTS
from .conversation import Caller, converse, new_worker
from .telephone import LoudnessVAD, Microphone, Speaker

__all__ = [
    "Answer",
    "Caller",
    "LoudnessVAD",
    "Microphone",
    "ScriptedLLM",
    "ScriptedSTT",
    "ScriptedTTS",
    "SessionCosts",
    "Speaker",
    "ToolCall",
    "converse",
    "new_worker",
]
