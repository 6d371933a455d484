"""Hosts of vendors' services, which clients for OpenAI's API name as their base URL."""

from __future__ import annotations

__all__ = ["find_vendor"]

_VENDORS = {
    "api.anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.cometapi.com": "cometapi",
    "api.deepgram.com": "deepgram",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworksai",
    "api.groq.com": "groq",
    "api.letta.com": "letta",
    "api.mistral.ai": "mistral",
    "api.openai.com": "openai",
    "api.perplexity.ai": "perplexity",
    "api.sambanova.ai": "sambanova",
    "api.studio.nebius.com": "nebius",
    "api.telnyx.com": "telnyx",
    "api.together.xyz": "together",
    "api.x.ai": "xai",
    "oai.endpoints.kepler.ai.cloud.ovh.net": "ovhcloud",
    "openrouter.ai": "openrouter",
    "text.octoai.run": "octoai",
}

# Host suffixes that follow a resource or region name.
_VENDORS_BY_SUFFIX = {
    ".cognitiveservices.azure.com": "azure",
    ".openai.azure.com": "azure",
    ".services.ai.azure.com": "azure",
}


def find_vendor(host: str) -> str | None:
    """Return the catalog's id of the vendor with a host in lower case, or None if it is unknown."""
    if host in _VENDORS:
        return _VENDORS[host]
    return next((vendor for suffix, vendor in _VENDORS_BY_SUFFIX.items() if host.endswith(suffix)), None)
