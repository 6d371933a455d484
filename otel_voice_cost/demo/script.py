"""The words of the call: three questions, a tool call and an interruption."""

from __future__ import annotations

from ..testing.answers import Answer, ToolCall

__all__ = ["ANSWERS", "GREETING", "HEARD", "INSTRUCTIONS", "INTERRUPTED", "INTERRUPTED_ANSWER", "ORDER"]

INSTRUCTIONS = "You are a clerk who finds orders."
GREETING = "Hello, this is the order desk. How can I help?"
HEARD = [
    "Hi, I would like to know where my order is.",
    "It is order four two seven.",
    "Stop, please. When does it arrive?",
    "Thank you, that is all.",
]
INTERRUPTED = 1  # index of the question whose answer the caller interrupts
INTERRUPTED_ANSWER = 3  # counted from one: this answer of the model
ORDER = "left the warehouse this morning"
ANSWERS = [
    Answer(text="Of course. What is your order number?", prompt_tokens=412, completion_tokens=11),
    Answer(tool=ToolCall(name="find_order"), prompt_tokens=448, cached_tokens=384, completion_tokens=15),
    Answer(
        text="I found it. Your order left our warehouse in Rotterdam this morning, it was handed to the carrier at "
        "nine, it is now on its way to the sorting centre, and from there it goes on by van.",
        prompt_tokens=492,
        cached_tokens=384,
        completion_tokens=44,
    ),
    Answer(text="It arrives tomorrow before noon.", prompt_tokens=561, cached_tokens=512, completion_tokens=9),
    Answer(text="You are welcome. Goodbye!", prompt_tokens=590, cached_tokens=512, completion_tokens=8),
]
