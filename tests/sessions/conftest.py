"""One pipeline per test, shut down at its end."""

from __future__ import annotations

import pytest

from .harness import Pipeline


@pytest.fixture
def pipeline(price_catalog):
    pipeline = Pipeline(price_catalog)
    yield pipeline
    pipeline.provider.shutdown()
