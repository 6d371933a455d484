"""The observations of a Langfuse project, read page by page from its API.

Source:
    Langfuse's Python client 5.0, ``langfuse/api/observations/client.py``: pages by cursor, at most 1,000 observations
    each; metadata beyond 200 characters only if its key is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .databases import Period
from .messages import LINES

if TYPE_CHECKING:
    from langfuse.api import LangfuseAPI

__all__ = ["PATH", "observation_batches"]

PATH = "/api/public/v2/observations"
_PAGE = 1_000
_RETRIES = 5  # of the client, with growing pauses: Langfuse limits the number of requests per minute


def observation_batches(
    client: LangfuseAPI, period: Period, on_page: Callable[[int], object]
) -> Iterator[pa.RecordBatch]:
    """Yield the observations of a project as rows of `LINES`, in the form of Langfuse's exports.

    Args:
        client: Langfuse's client of the project.
        period: When the observations start.
        on_page: Called with the number of observations of each page.

    Raises:
        Exception: The errors of the client, if a page cannot be read.
    """
    cursor: str | None = None
    number = 0
    while True:
        page: Any = client.observations.get_many(
            fields="core,basic,metadata",
            expand_metadata="attributes",
            limit=_PAGE,
            cursor=cursor,
            from_start_time=period.since,
            to_start_time=period.until,
            request_options={"max_retries": _RETRIES},
        )
        rows = [{"line": number + n, "json": json.dumps(_fields(each))} for n, each in enumerate(page.data, 1)]
        number += len(rows)
        on_page(len(rows))
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=LINES)
        cursor = page.meta.cursor
        if not cursor:
            return


def _fields(observation: Any) -> dict[str, Any]:
    return {
        "id": observation.id,
        "traceId": observation.trace_id,
        "parentObservationId": observation.parent_observation_id,
        "startTime": observation.start_time.isoformat(),
        "endTime": observation.end_time.isoformat() if observation.end_time else None,
        "sessionId": observation.session_id,
        "metadata": observation.metadata,
    }
