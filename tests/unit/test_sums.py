"""Sums worked out by hand, with the list prices of the vendors' pages.

Each row: the usage, the calculation, and the sum. The day is 2026-11-23, or as given.
"""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

import pytest

from otel_voice_cost import Component, Mode, PriceCatalog, Unit, Usage
from otel_voice_cost.prices.calculate import calculate_cost

SUMS = [
    ("stt deepgram/nova-3 streaming", "audio_second=62", "62 * 0.0048 / 60", "0.00496"),
    ("stt deepgram/nova-3 batch", "audio_second=62", "62 * 0.0043 / 60", "0.004443333333333333"),
    ("stt deepgram/nova-3 batch", "audio_second=0.4", "1 * 0.0043 / 60", "0.000071666666666667"),
    ("stt deepgram/nova-3 batch", "audio_second=61.2", "62 * 0.0043 / 60", "0.004443333333333333"),
    ("stt deepgram/nova-3 streaming", "audio_second=0.4", "0.4 * 0.0048 / 60", "0.000032"),
    ("stt deepgram/nova-2 streaming", "audio_second=3600", "3600 * 0.35 / 3600", "0.35"),
    ("stt deepgram/nova-2 batch", "audio_second=3600", "3600 * 0.0043 / 60", "0.258"),
    ("stt deepgram/flux-general-en streaming", "audio_second=90", "90 * 0.0065 / 60", "0.00975"),
    ("stt deepgram/flux-general-multi streaming", "audio_second=90", "90 * 0.0078 / 60", "0.0117"),
    ("stt assemblyai/universal-streaming-english streaming", "audio_second=600", "600 * 0.15 / 3600", "0.025"),
    ("stt cartesia/ink-2 streaming", "audio_second=60", "60 * 0.009 / 60", "0.009"),
    ("stt cartesia/ink-whisper streaming", "audio_second=60", "60 * 0.003 / 60", "0.003"),
    ("stt cartesia/ink-whisper batch", "audio_second=60", "60 * 0.0015 / 60", "0.0015"),
    ("stt elevenlabs/scribe_v2_realtime streaming", "audio_second=1800", "1800 * 0.39 / 3600", "0.195"),
    ("stt elevenlabs/scribe_v2 batch", "audio_second=1800", "1800 * 0.22 / 3600", "0.11"),
    ("stt groq/whisper-large-v3-turbo batch", "audio_second=4", "10 * 0.04 / 3600", "0.000111111111111111"),
    ("stt groq/whisper-large-v3 batch", "audio_second=30", "30 * 0.111 / 3600", "0.000925"),
    ("stt aws/unknown streaming", "audio_second=100", "100 * 0.010 / 60", "0.016666666666666667"),
    ("stt azure/unknown streaming", "audio_second=360", "360 * 1.00 / 3600", "0.1"),
    ("stt google/latest_long streaming", "audio_second=60", "60 * 0.016 / 60", "0.016"),
    ("stt speechmatics/enhanced streaming", "audio_second=3600", "3600 * 0.43 / 3600", "0.43"),
    ("stt gladia/solaria-1 streaming", "audio_second=3600", "3600 * 0.75 / 3600", "0.75"),
    ("stt soniox/stt-rt-v5 streaming", "audio_second=1800", "1800 * 0.12 / 3600", "0.06"),
    ("stt openai/whisper-1 batch", "audio_second=90", "90 * 0.006 / 60", "0.009"),
    ("stt openai/gpt-4o-transcribe batch", "audio_second=60", "60 * 0.006 / 60", "0.006"),
    ("stt openai/gpt-4o-mini-transcribe batch", "audio_second=60", "60 * 0.003 / 60", "0.003"),
    (
        "stt openai/gpt-4o-transcribe streaming",
        "audio_second=60,input_audio_token=600,output_text_token=100",
        "600 * 2.50 / 1000000 + 100 * 10 / 1000000",
        "0.0025",
    ),
    (
        "stt openai/gpt-4o-mini-transcribe streaming",
        "input_audio_token=600,output_text_token=100",
        "600 * 1.25 / 1000000 + 100 * 5 / 1000000",
        "0.00125",
    ),
    ("stt livekit/deepgram/nova-3 streaming", "audio_second=60", "60 * 0.0048 / 60", "0.0048"),
    ("stt sarvam/saaras:v4 streaming", "audio_second=3600", "30 / 88.0", "0.340909090909090909"),
    ("stt xai/unknown streaming", "audio_second=1800", "1800 * 0.20 / 3600", "0.1"),
    ("tts cartesia/sonic-3", "character=180", "180 * 50 / 1000000", "0.009"),
    ("tts elevenlabs/eleven_flash_v2_5", "character=1000", "1000 * 0.04 / 1000", "0.04"),
    ("tts elevenlabs/eleven_flash_v2_5 @2026-08-31", "character=1000", "1000 * 0.05 / 1000", "0.05"),
    ("tts elevenlabs/eleven_multilingual_v2", "character=1000", "1000 * 0.08 / 1000", "0.08"),
    ("tts elevenlabs/eleven_v4", "character=1000", "1000 * 0.08 / 1000", "0.08"),
    ("tts elevenlabs/eleven_v4 @2026-10-12", "character=1000", "1000 * 0.022 / 1000", "0.022"),
    ("tts deepgram/aura-2-andromeda-en", "character=500", "500 * 0.030 / 1000", "0.015"),
    ("tts openai/tts-1", "character=1234", "1234 * 15 / 1000000", "0.01851"),
    ("tts openai/tts-1-hd", "character=1234", "1234 * 30 / 1000000", "0.03702"),
    (
        "tts openai/gpt-4o-mini-tts",
        "character=100,input_text_token=25,output_audio_token=150,audio_second=6",
        "25 * 0.60 / 1000000 + 150 * 12 / 1000000",
        "0.001815",
    ),
    ("tts openai/gpt-4o-mini-tts", "character=100,audio_second=6", "6 * 0.015 / 60", "0.0015"),
    ("tts google/gemini-2.5-flash-tts", "character=100,audio_second=8", "8 * 10 / 40000", "0.002"),
    (
        "tts google/gemini-2.5-flash-tts",
        "character=100,input_text_token=25,output_audio_token=200,audio_second=8",
        "25 * 0.50 / 1000000 + 200 * 10 / 1000000",
        "0.0020125",
    ),
    (
        "tts google/gemini-3.8-flash-tts @2027-01-01",
        "input_text_token=1000,output_audio_token=1000",
        "1000 * 1.00 / 1000000 + 1000 * 18 / 1000000",
        "0.019",
    ),
    (
        "tts google/gemini-3.8-flash-tts @2026-12-31",
        "input_text_token=1000,output_audio_token=1000",
        "1000 * 0.50 / 1000000 + 1000 * 9 / 1000000",
        "0.0095",
    ),
    ("tts google/chirp_3", "character=1000", "1000 * 30 / 1000000", "0.03"),
    ("tts azure/eastus:en-us-jennyneural", "character=1000", "1000 * 15 / 1000000", "0.015"),
    ("tts azure/eastus:zh-cn-xiaoxiaoneural", "character=5,wide_character=9", "9 * 15 / 1000000", "0.000135"),
    (
        "tts azure/eastus:en-us-ava:dragonhdlatestneural @2026-02-28",
        "character=1000",
        "1000 * 30 / 1000000",
        "0.03",
    ),
    ("tts aws/neural", "character=1000", "1000 * 16 / 1000000", "0.016"),
    ("tts aws/generative", "character=1000", "1000 * 30 / 1000000", "0.03"),
    ("tts fishaudio/s2.1-pro", "character=10,utf8_byte=30", "30 * 15 / 1000000", "0.00045"),
    ("tts speechify/simba-english", "character=11,unspaced_character=10", "10 * 10 / 1000000", "0.0001"),
    ("tts minimax/speech-2.8-hd", "character=1000", "1000 * 100 / 1000000", "0.1"),
    ("tts resemble/chatterbox", "character=100,audio_second=10", "10 * 0.00067 / 1", "0.0067"),
    ("tts soniox/tts-rt-v2", "character=100,audio_second=36", "36 * 0.65 / 3600", "0.0065"),
    ("tts livekit/cartesia/sonic-3", "character=1000", "1000 * 50 / 1000000", "0.05"),
    ("tts groq/canopylabs/orpheus-v1-english", "character=1000", "1000 * 22 / 1000000", "0.022"),
    (
        "llm openai/gpt-4.1-mini",
        "input_token=172,cached_input_token=128,output_token=20",
        "172 * 0.40 / 1000000 + 128 * 0.10 / 1000000 + 20 * 1.60 / 1000000",
        "0.0001136",
    ),
    (
        "llm openai/gpt-4.1-mini",
        "input_token=300,output_token=8,reasoning_token=12",
        "300 * 0.40 / 1000000 + 20 * 1.60 / 1000000",
        "0.000152",
    ),
    (
        "llm openai/gpt-5.6-luna @2026-07-29",
        "input_token=1000,output_token=100",
        "1000 * 1 / 1000000 + 100 * 6 / 1000000",
        "0.0016",
    ),
    (
        "llm openai/gpt-5.6-luna @2026-07-30",
        "input_token=1000,output_token=100",
        "1000 * 0.2 / 1000000 + 100 * 1.2 / 1000000",
        "0.00032",
    ),
    (
        "llm google/gemini-2.5-pro",
        "input_token=200000,output_token=1000",
        "200000 * 1.25 / 1000000 + 1000 * 10 / 1000000",
        "0.26",
    ),
    (
        "llm google/gemini-2.5-pro",
        "input_token=200001,output_token=1000",
        "200001 * 2.5 / 1000000 + 1000 * 15 / 1000000",
        "0.5150025",
    ),
    (
        "llm aws/global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "input_token=100,cached_input_token=900,cache_write_token=200,output_token=50",
        "100 * 3 / 1000000 + 900 * 0.3 / 1000000 + 200 * 3.75 / 1000000 + 50 * 15 / 1000000",
        "0.00207",
    ),
    (
        "llm livekit/openai/gpt-4o-mini",
        "input_token=1000,cached_input_token=100,output_token=100",
        "1000 * 0.15 / 1000000 + 100 * 0.075 / 1000000 + 100 * 0.60 / 1000000",
        "0.0002175",
    ),
    (
        "realtime openai/gpt-realtime",
        "input_text_token=40,cached_input_text_token=64,input_audio_token=104,cached_input_audio_token=96,"
        "output_text_token=20,output_audio_token=80",
        "40 * 4 / 1000000 + 64 * 0.4 / 1000000 + 104 * 32 / 1000000 + 96 * 0.4 / 1000000 + "
        "20 * 16 / 1000000 + 80 * 64 / 1000000",
        "0.008992",
    ),
    (
        "realtime openai/gpt-realtime-mini",
        "input_audio_token=600,output_audio_token=1200",
        "600 * 10 / 1000000 + 1200 * 20 / 1000000",
        "0.03",
    ),
    ("realtime openai/gpt-live-1", "session_second=75", "75 * 3 / 3600", "0.0625"),
    ("realtime xai/grok-voice-latest", "session_second=75", "75 * 0.08 / 60", "0.1"),
    ("realtime xai/grok-voice-latest @2026-08-04", "session_second=75", "75 * 0.05 / 60", "0.0625"),
    (
        "realtime google/gemini-2.5-flash-native-audio-preview-12-2025",
        "input_audio_token=250,output_audio_token=250",
        "250 * 3 / 1000000 + 250 * 12 / 1000000",
        "0.00375",
    ),
    (
        "realtime aws/amazon.nova-2-sonic-v1:0",
        "input_audio_token=1000,output_audio_token=1000",
        "1000 * 3 / 1000000 + 1000 * 12 / 1000000",
        "0.015",
    ),
    ("avatar tavus/realtime-avatar", "session_second=60", "60 * 0.35 / 60", "0.35"),
    ("avatar liveavatar/realtime-avatar", "session_second=61", "120 * 0.10 / 60", "0.2"),
    ("avatar runway/realtime-avatar", "session_second=61,request=1", "66 * 0.20 / 60 + 0.02", "0.24"),
    ("turn_detection livekit/turn-detector-v1-mini", "request=7", "0 * 7", "0"),
]

CATALOG = PriceCatalog.default()


@pytest.mark.parametrize(("what", "amounts", "worked_out", "usd"), SUMS)
def test_the_sum_equals_the_one_worked_out_by_hand(what, amounts, worked_out, usd):
    component, name, *more = what.split()
    provider, model = name.split("/", 1)
    day = next((word[1:] for word in more if word.startswith("@")), "2026-11-23")
    usage = Usage(
        component=Component(component),
        provider=provider,
        model=model,
        quantities={Unit(unit): Decimal(n) for unit, n in (amount.split("=") for amount in amounts.split(","))},
        at=datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=timezone.utc),
        mode=next((Mode(word) for word in more if not word.startswith("@")), None),
    )

    cost = calculate_cost(usage, CATALOG.card_for(usage))

    assert cost.usd == Decimal(usd), worked_out
