"""Map provider and model names of LiveKit's plugins to catalog ids.

Plugins report display names ("Deepgram", "Azure STT"), hosts ("api.openai.com") or
"unknown"; LiveKit's spans report a normalized spelling ("x_ai", "gcp.gemini").

Source:
    ``provider`` properties of 138 plugin classes, livekit-plugins 1.8.9;
    livekit-agents 1.8.9, ``telemetry/trace_types.py``, ``gen_ai_provider_name``.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from ..hosts import find_vendor

__all__ = ["canonical_model", "canonical_provider"]

_UNKNOWN = {"", "unknown"}

# Lower-case spellings that differ from the catalog's id.
_ALIASES = {
    "amazon": "aws",
    "amazon polly": "aws",
    "amazon transcribe": "aws",
    "aws bedrock": "aws",
    "aws.bedrock": "aws",
    "azure stt": "azure",
    "azure tts": "azure",
    "azure-voicelive": "azure",
    "azure.ai.openai": "azure",
    "camb.ai": "cambai",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "google cloud platform": "google",
    "microsoft ai": "microsoft_ai",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "vertex ai": "google",
    "vertex ai model garden": "google",
    "x_ai": "xai",
}


@lru_cache(maxsize=4_096)
def canonical_provider(provider: str | None, label: str | None = None) -> str:
    """Return the catalog's id of a provider, or the reported name in lower case.

    Args:
        provider: As reported: a display name, a host or host:port, a URL, ``"unknown"`` or None.
        label: Class that reported it (``livekit.plugins.xai.stt.STT``); its plugin is the
            provider if ``provider`` is unknown.

    Returns:
        An id in lower case; ``"unknown"`` if neither names a provider.
    """
    name = (provider or "").strip().lower()
    if "://" in name:
        name = urlsplit(name).hostname or name
    if name in _UNKNOWN:
        parts = (label or "").lower().split(".")
        name = parts[2] if len(parts) > 3 and parts[:2] == ["livekit", "plugins"] else "unknown"
    return _ALIASES.get(name) or find_vendor(name) or name


@lru_cache(maxsize=4_096)
def canonical_model(model: str | None) -> str:
    """Return a model id in lower case, or ``"unknown"`` if none was reported."""
    return (model or "").strip().lower() or "unknown"
