"""Invoices of vendors: their usage and costs as exported, line by line. A new format is one file of this folder.

AssemblyAI and LiveKit Cloud document no export of what they bill (AssemblyAI: "Billing and pricing" and "Tracking
customer transcription usage"; LiveKit: the Analytics API lists sessions, not what is billed). Their CSV, and any other,
is read by a mapping file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import tzinfo
from pathlib import Path

from ...errors import Problem
from ..reading import ReadError
from . import deepgram, elevenlabs, openai, twilio
from .lines import Document, Invoice, InvoiceLine, read_documents, refuse
from .mapping import MappingFile, read_mapping, to_time_zone

__all__ = ["FORMATS", "Invoice", "InvoiceLine", "MappingFile", "read_invoice", "read_mapping_file", "to_time_zone"]

FORMATS: dict[str, Callable[[Document], Invoice]] = {
    "deepgram": deepgram.read,
    "elevenlabs": elevenlabs.read,
    "openai": openai.read,
    "twilio": twilio.read,
}


def read_mapping_file(path: Path) -> MappingFile:
    """Return a mapping file.

    Raises:
        ReadError: The file cannot be read or has mistakes; it lists all of them.
    """
    return read_mapping(_read_text(path), str(path))


def read_invoice(paths: Iterable[Path], vendor: str, mapping: MappingFile, time_zone: tzinfo) -> Invoice:
    """Read an invoice.

    Args:
        paths: Its files, of any kinds that the vendor has: usage and costs add up to one invoice. Each counts once.
        vendor: The vendor, a key of `FORMATS`; any name if the mapping file has columns.
        mapping: The mapping file; an empty one changes nothing.
        time_zone: Zone in which the vendor counts days.

    Raises:
        ReadError: A file cannot be read or has another format.
    """
    read = FORMATS.get(vendor)
    if read is None and mapping.columns is None:
        known = ", ".join(sorted(FORMATS))
        raise refuse("vendor", vendor, f"one of {known}, or a mapping file with the columns of its CSV")
    invoice = Invoice()
    problems: list[Problem] = []
    for path in {path.resolve(): path for path in paths}.values():
        try:
            text = _read_text(path)
            if mapping.columns is not None:
                invoice = invoice.plus(mapping.apply(mapping.read_csv(text, str(path), time_zone)))
            elif read is not None:
                for document in read_documents(text, str(path), time_zone):
                    invoice = invoice.plus(mapping.apply(read(document)))
        except ReadError as error:
            problems += error.problems
    if problems:
        raise ReadError(problems)
    return invoice


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(str(path), type(error).__name__, "a readable file in UTF-8") from None
