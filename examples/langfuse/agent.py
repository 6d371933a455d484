"""A voice agent with the true cost of its calls in Langfuse.

Set the keys of .env.example, then:

    pip install 'otel-voice-cost[otlp]' 'livekit-agents[cartesia,deepgram,openai,silero]~=1.8.0'
    python agent.py console

Speak, hang up with Ctrl+C, and open the trace in Langfuse.
"""

from __future__ import annotations

import base64
import os

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess, cli
from livekit.agents.telemetry import set_tracer_provider
from livekit.plugins import cartesia, deepgram, openai, silero
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_voice_cost import VoiceCostSpanProcessor


def prewarm(process: JobProcess) -> None:
    """Send traces to Langfuse; LiveKit calls this before the process gets a call."""
    keys = f"{os.environ['LANGFUSE_PUBLIC_KEY']}:{os.environ['LANGFUSE_SECRET_KEY']}"
    exporter = OTLPSpanExporter(
        endpoint=os.environ.get("LANGFUSE_BASE_URL", "https://cloud.langfuse.com") + "/api/public/otel/v1/traces",
        headers={"Authorization": "Basic " + base64.b64encode(keys.encode()).decode()},
    )
    provider = TracerProvider(resource=Resource.create({"service.name": "order-desk"}))
    provider.add_span_processor(VoiceCostSpanProcessor())  # the line to add, before the exporter
    provider.add_span_processor(BatchSpanProcessor(exporter))
    set_tracer_provider(provider)


server = AgentServer()
server.setup_fnc = prewarm


@server.rtc_session()
async def answer(context: JobContext) -> None:
    session = AgentSession(
        stt=deepgram.STT(model="nova-3"),
        llm=openai.LLM(model="gpt-4.1-mini"),
        tts=cartesia.TTS(model="sonic-3"),
        vad=silero.VAD.load(),
    )
    await session.start(agent=Agent(instructions="You answer the phone of an order desk. Be brief."), room=context.room)
    await session.generate_reply(instructions="Greet the caller and ask how you can help.")


if __name__ == "__main__":
    cli.run_app(server)
