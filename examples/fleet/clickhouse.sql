-- The cost of a fleet, from the Collector's ClickHouse exporter (table otel_traces). Exact: voice_cost.usd is text with
-- every digit. If traces are sampled, this is a sample: the metrics in Prometheus are complete.

-- 1. By day, component and model
SELECT
    toDate(Timestamp) AS day,
    SpanAttributes['voice_cost.component'] AS component,
    SpanAttributes['gen_ai.response.model'] AS model,
    count() AS spans,
    sum(toDecimal128(SpanAttributes['voice_cost.usd'], 18)) AS usd
FROM otel_traces
WHERE mapContains(SpanAttributes, 'voice_cost.usd')
GROUP BY day, component, model
ORDER BY day, usd DESC;

-- 2. The most expensive calls
SELECT
    TraceId,
    toDecimal128(SpanAttributes['voice_cost.session.usd'], 18) AS usd,
    toFloat64(SpanAttributes['voice_cost.session.seconds']) AS seconds,
    toFloat64(SpanAttributes['voice_cost.session.usd_per_minute']) AS usd_per_minute
FROM otel_traces
WHERE SpanName = 'agent_session' AND mapContains(SpanAttributes, 'voice_cost.session.usd')
ORDER BY usd DESC
LIMIT 20;

-- 3. The cost of a minute, over all calls of a day and revision (VOICE_COST_REVISION)
SELECT
    toDate(Timestamp) AS day,
    SpanAttributes['voice_cost.revision'] AS revision,
    count() AS calls,
    sum(toDecimal128(SpanAttributes['voice_cost.session.usd'], 18)) AS usd,
    toFloat64(usd) * 60 / sum(toFloat64(SpanAttributes['voice_cost.session.seconds'])) AS usd_per_minute
FROM otel_traces
WHERE SpanName = 'agent_session' AND mapContains(SpanAttributes, 'voice_cost.session.usd')
GROUP BY day, revision
ORDER BY day, revision;

-- 4. Reasons for usage without a price
SELECT SpanAttributes['voice_cost.unpriced'] AS reason, count() AS spans
FROM otel_traces
WHERE mapContains(SpanAttributes, 'voice_cost.unpriced')
GROUP BY reason
ORDER BY spans DESC;

-- 5. Traces whose spans do not add up to their sessions: spans were lost on the way
SELECT
    TraceId,
    sumIf(toDecimal128OrZero(SpanAttributes['voice_cost.usd'], 18), SpanName != 'agent_session') AS on_spans,
    sumIf(toDecimal128OrZero(SpanAttributes['voice_cost.session.usd'], 18), SpanName = 'agent_session') AS on_session
FROM otel_traces
GROUP BY TraceId
HAVING on_session > 0 AND on_spans != on_session;
