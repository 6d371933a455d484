"""Services as an application writes them: classes of its own module, below Pipecat's."""

from __future__ import annotations

from pipecat.frames.frames import Frame, LLMContextFrame, LLMFullResponseEndFrame, LLMFullResponseStartFrame
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.llm_service import LLMService
from pipecat.services.openai.base_llm import BaseOpenAILLMService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.settings import LLMSettings

from otel_voice_cost.usage import Component, Unit

from ..vendors.server import VendorServer
from ..vendors.tokens import split_tokens

__all__ = ["EchoLLMService", "EchoMeter", "HotelEars", "HotelVoice", "UntracedOpenAILLMService"]


class HotelEars(DeepgramSTTService):
    """Deepgram under another name."""


class HotelVoice(CartesiaTTSService):
    """Cartesia under another name."""


class UntracedOpenAILLMService(OpenAILLMService):
    """OpenAI without the span: the method that Pipecat's tracing wraps is replaced."""

    _process_context = BaseOpenAILLMService._process_context.__wrapped__


class EchoMeter(VendorServer):
    """The meter of a vendor that Pipecat does not know. It serves nothing."""

    component = Component.LLM
    provider = "echo"

    def routes(self) -> list:
        return []


class EchoLLMService(LLMService):
    """A model of that vendor: no span, and usage by Pipecat's own method."""

    def __init__(self, meter: VendorServer) -> None:
        settings = LLMSettings(
            model="echo-1", system_instruction=None, temperature=None, max_tokens=None, top_p=None, top_k=None,
            frequency_penalty=None, presence_penalty=None, seed=None, filter_incomplete_user_turns=False,
            user_turn_completion_config=None,
        )  # fmt: skip
        super().__init__(settings=settings)
        self._meter = meter

    def can_generate_metrics(self) -> bool:
        return True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        text = str(frame.context.get_messages()[-1]["content"])
        sent, made = len(split_tokens(text)), len(split_tokens(text))
        await self.push_frame(LLMFullResponseStartFrame())
        await self._push_llm_text(text)
        self._meter.bill("echo-1", {Unit.INPUT_TOKEN: sent, Unit.OUTPUT_TOKEN: made}, "complete")
        await self.start_llm_usage_metrics(
            LLMTokenUsage(prompt_tokens=sent, completion_tokens=made, total_tokens=sent + made)
        )
        await self.push_frame(LLMFullResponseEndFrame())
