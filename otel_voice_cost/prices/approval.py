"""The sign-off of list prices: ``[list_prices]`` of a price sheet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ..errors import Problem
from .rate_entries import Name, entry_problems

__all__ = ["SECTION", "Approval", "approval_problems"]

SECTION = "list_prices"


class Approval(BaseModel):
    """The origin of list prices, and who approved them.

    Attributes:
        source: Path of the file they were read from, or its URL without credentials.
        release: Name and version of the package that has them; empty for a price file.
        sha256: Checksum of that file, hexadecimal.
        approved_at: Time of the approval.
        approved_by: Name of the person, or of the account, that approved.
        approved_with: Form of the approval: an answer or an option.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Name
    release: str = ""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    approved_at: AwareDatetime
    approved_by: Name
    approved_with: Name


def approval_problems(section: object, origin: str) -> Iterator[Problem]:
    """Yield the mistakes in the value of ``[list_prices]``.

    Args:
        section: The value.
        origin: File or variable, for messages.
    """
    fields: Any = section
    try:
        Approval.model_validate(fields)
    except ValidationError as error:
        yield from entry_problems(error, f"{origin}, {SECTION}", Approval).problems
