"""Read list prices for ``prices update``: a wheel of this package or a price file, from a path or a URL.

A wheel is read as the archive that it is; nothing of it is imported or installed.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PathDistribution, version
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

from ..errors import PriceError, Problem
from ..prices.approval import SECTION
from ..prices.documents import read_document
from ..prices.overrides import Overrides
from ..prices.price_sheet import parse_sheet
from ..prices.problems import masked, refuse

__all__ = ["MAX_PRICE_FILE", "Document", "ListSource", "read_source", "shipped_documents"]

Document = dict[str, Any]  # a decoded price file

_PACKAGE = "otel-voice-cost"
_DATA = "otel_voice_cost/prices/data/"
_SECONDS = 30  # until a server must answer
_MAX_SOURCE = 50_000_000  # bytes; a wheel of this package has less than 1 MB
MAX_PRICE_FILE = 4_000_000  # of one price file, as for all of them
_EXPECTED = f"a wheel of {_PACKAGE} or a price file"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSource:
    """List prices as read from a source.

    Attributes:
        location: The path, or the URL without user, password and query.
        release: Name and version of the package in a wheel; empty for a price file.
        sha256: Checksum of the source, hexadecimal.
        documents: Its price files.
        is_complete: True if the source has the prices of all vendors.
    """

    location: str
    release: str
    sha256: str
    documents: tuple[Document, ...]
    is_complete: bool


def read_source(source: str) -> ListSource:
    """Read the wheel or price file at a path or URL.

    Raises:
        PriceError: It cannot be read, has no prices, or prices in a form that this release does not read.
    """
    location, data = _download(source) if urlsplit(source).scheme in ("http", "https") else _read_file(source)
    release, texts = "", {Path(location).name: data}
    if zipfile.is_zipfile(BytesIO(data)):
        release, texts = _unpack(data, location)
    documents = tuple(_documents(texts, location, release))
    is_complete = bool(release) or any(SECTION in document for document in documents)
    for document in documents:
        document.pop(SECTION, None)
    return ListSource(
        location=location,
        release=release,
        sha256=sha256(data).hexdigest(),
        documents=documents,
        is_complete=is_complete,
    )


def shipped_documents() -> tuple[str, list[Document]]:
    """Return name and version of this package, and the price files that ship with it."""
    folder = sorted(files("otel_voice_cost.prices").joinpath("data").iterdir(), key=lambda entry: entry.name)
    texts = {entry.name: entry.read_text(encoding="utf-8") for entry in folder if entry.name.endswith(".toml")}
    return f"{_PACKAGE} {version(_PACKAGE)}", [read_document(text, name) for name, text in texts.items()]


def _read_file(source: str) -> tuple[str, bytes]:
    path = Path(source)
    try:
        if path.exists() and not path.is_file():  # a device or pipe has no end
            refuse(source, "no regular file", _EXPECTED)
        if path.stat().st_size > _MAX_SOURCE:
            refuse(source, "a larger file", f"{_MAX_SOURCE // 1_000_000} MB at most")
        return source, path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: the path contains NUL
        refuse(masked(source), type(error).__name__, f"{_EXPECTED}, as a path or an http(s) URL")


def _download(url: str) -> tuple[str, bytes]:
    """Return a URL without credentials, and the content of its page."""
    parts = urlsplit(url)
    location = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    request = Request(url, headers={"User-Agent": f"{_PACKAGE}/{version(_PACKAGE)}"})  # noqa: S310  # http(s) alone
    try:
        with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            data: bytes = answer.read(_MAX_SOURCE + 1)
    except HTTPError as error:
        refuse(location, f"HTTP {error.code}", _EXPECTED)
    except URLError as error:
        refuse(location, masked(str(error.reason)), "a server that answers")
    except (OSError, ValueError) as error:  # among them a timeout; ValueError: the URL is invalid
        refuse(location, type(error).__name__, f"an answer within {_SECONDS} seconds")
    if len(data) > _MAX_SOURCE:
        refuse(location, "a larger file", f"{_MAX_SOURCE // 1_000_000} MB at most")
    return location, data


def _unpack(data: bytes, location: str) -> tuple[str, dict[str, bytes]]:
    """Return the name and version of the package in a wheel, and its price files by name."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return _release(archive, location), dict(_price_files(archive, location))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        refuse(location, f"a damaged archive: {type(error).__name__}", _EXPECTED)


def _release(archive: zipfile.ZipFile, location: str) -> str:
    described = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
    if len(described) != 1:
        refuse(location, "an archive that is no wheel", f"a wheel of {_PACKAGE}")
    package = PathDistribution(zipfile.Path(archive, described[0].removesuffix("METADATA")))
    return f"{package.metadata['Name']} {package.version}"


def _price_files(archive: zipfile.ZipFile, location: str) -> Iterator[tuple[str, bytes]]:
    members = [
        member
        for member in archive.infolist()
        if member.filename.startswith(_DATA) and member.filename.endswith(".toml")
    ]
    if not members:
        refuse(
            location, f"{_release(archive, location)}, without price data", f"{_DATA}*.toml in a wheel of {_PACKAGE}"
        )
    if sum(member.file_size for member in members) > _MAX_SOURCE:
        refuse(location, "price data larger than that when unpacked", f"{_MAX_SOURCE // 1_000_000} MB at most")
    for member in sorted(members, key=lambda member: member.filename):
        yield Path(member.filename).name, archive.read(member)


def _documents(texts: Mapping[str, bytes], location: str, release: str) -> Iterator[Document]:
    """Yield the decoded price files.

    Raises:
        PriceError: A file is no price file, or has entries that this release does not read.
    """
    problems: list[Problem] = []
    for name, data in texts.items():
        place = f"{location}, {name}" if release else location
        sheet = parse_sheet(_text(data, place), place)
        problems += sheet.problems
        if not (sheet.rates or sheet.rules or sheet.problems):
            refuse(place, "no prices", f"{_EXPECTED} with rates")
        if sheet.overrides != Overrides(currencies=sheet.overrides.currencies):
            refuse(place, "discounts or other terms of a team", "prices alone; terms belong in a file of your own")
        if not problems:
            yield read_document(_text(data, place), place)
    if problems and release:
        own = f"{_PACKAGE} {version(_PACKAGE)}"
        value, expected = f"prices in a form that {own} cannot read", f"{own} to be upgraded to {release} first"
        problems.insert(0, Problem(place=location, value=value, expected=expected))
    if problems:
        raise PriceError(problems)


def _text(data: bytes, place: str) -> str:
    if len(data) > MAX_PRICE_FILE:
        refuse(place, "a larger price file", f"{MAX_PRICE_FILE // 1_000_000} MB at most")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        refuse(place, "data that is neither a wheel nor text", _EXPECTED)
    if text.lstrip().startswith("<"):
        refuse(place, "a page of HTML", _EXPECTED)
    return text
