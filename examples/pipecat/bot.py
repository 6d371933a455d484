"""A Pipecat bot with the true cost of its calls in Langfuse.

Set the keys of .env.example, then:

    pip install 'otel-voice-cost[otlp]' 'pipecat-ai[cartesia,deepgram,openai,runner,webrtc]~=1.14.0'
    python bot.py

Open http://localhost:7860, speak, disconnect, and open the trace in Langfuse.
"""

from __future__ import annotations

import base64
import os
import signal
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.runner.types import RunnerArguments
from pipecat.runner.utils import create_transport
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.workers.runner import WorkerRunner

from otel_voice_cost import VoiceCostSpanProcessor

keys = f"{os.environ['LANGFUSE_PUBLIC_KEY']}:{os.environ['LANGFUSE_SECRET_KEY']}"
exporter = OTLPSpanExporter(
    endpoint=os.environ.get("LANGFUSE_BASE_URL", "https://cloud.langfuse.com") + "/api/public/otel/v1/traces",
    headers={"Authorization": "Basic " + base64.b64encode(keys.encode()).decode()},
)
provider = TracerProvider(resource=Resource.create({"service.name": "order-desk"}))
provider.add_span_processor(VoiceCostSpanProcessor())  # the line to add, before the exporter
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)  # at module level: once for all calls


async def answer(transport: BaseTransport, session_id: str | None) -> None:
    """Answer one call, to its end."""
    stt = DeepgramSTTService(
        api_key=os.environ["DEEPGRAM_API_KEY"], settings=DeepgramSTTService.Settings(model="nova-3-general")
    )
    llm = OpenAILLMService(
        api_key=os.environ["OPENAI_API_KEY"],
        settings=OpenAILLMService.Settings(
            model="gpt-4.1-mini", system_instruction="You answer the phone of an order desk. Be brief."
        ),
    )
    tts = CartesiaTTSService(
        api_key=os.environ["CARTESIA_API_KEY"],
        settings=CartesiaTTSService.Settings(model="sonic-3", voice="71a7ad14-091c-4e8e-a314-022ece01c121"),
    )
    context = LLMContext([{"role": "developer", "content": "Greet the caller and ask how you can help."}])
    user, assistant = LLMContextAggregatorPair(
        context, user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    worker = PipelineWorker(
        Pipeline([transport.input(), stt, user, llm, tts, transport.output(), assistant]),
        enable_tracing=True,  # without it there are no spans
        conversation_id=session_id,
        additional_span_attributes={"langfuse.session.id": session_id} if session_id else {},
    )

    @transport.event_handler("on_client_connected")
    async def greet(_transport: BaseTransport, _client: object) -> None:
        await worker.queue_frames([LLMRunFrame()])

    @transport.event_handler("on_client_disconnected")
    async def hang_up(_transport: BaseTransport, _client: object) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


async def bot(arguments: RunnerArguments) -> None:
    """Take a call; Pipecat's runner awaits this for each one."""
    audio = {"webrtc": lambda: TransportParams(audio_in_enabled=True, audio_out_enabled=True)}
    await answer(await create_transport(arguments, audio), arguments.session_id)


if __name__ == "__main__":
    from pipecat.runner.run import main

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # an exit by the signal itself would lose the last spans
    main()
