-- From `lines` to the tables `usage`, `calls`, `reported` and `problems`.
-- Parameters: keys of session ids, keys of agents' names, fields of reported amounts.

-- Records, each once: a call that is in two files is the same call.
CREATE TEMP TABLE records AS
SELECT
    file,
    line,
    record.trace || ':' || coalesce(record.span, '') AS call,
    unnest(record),
    CASE
        WHEN is_no_time(record.started) THEN 'a ChargePeriodStart that is a time'
        WHEN is_no_number(record.seconds) THEN 'an x_Seconds that is a number'
        WHEN record.usd IS NULL OR is_no_number(record.usd) THEN 'an EffectiveCost that is a number'
        WHEN len(list_filter(record.charges, lambda c : is_no_number(c.EffectiveCost))) > 0
            THEN 'Charges with an EffectiveCost that is a number or null'
        WHEN len(list_filter(
            record.charges, lambda c : is_no_number(c.ConsumedQuantity) OR is_no_number(c.x_UsedQuantity)
        )) > 0
            THEN 'Charges with quantities that are numbers'
        WHEN len(list_filter(record.charges, lambda c : c.x_Component IS NULL OR c.ServiceName IS NULL)) > 0
            THEN 'Charges with a ServiceName and an x_Component'
        WHEN len(list_filter(record.unreported, lambda u : is_no_number(u.x_LikelyCost))) > 0
            THEN 'an x_LikelyCost that is a number or null'
    END AS expected
FROM lines
WHERE record IS NOT NULL;

CREATE TEMP TABLE spans AS
SELECT
    *,
    value_of(attributes, 'voice_cost.session.usd') IS NOT NULL AS is_session,
    value_of(attributes, 'voice_cost.turn.usd') IS NOT NULL AS is_turn,
    CASE
        WHEN trace IS NULL OR span IS NULL THEN 'a traceId and a spanId'
        WHEN is_no_time(make_timestamp_ns(end_ns)::TIMESTAMPTZ) OR is_no_time(make_timestamp_ns(start_ns)::TIMESTAMPTZ)
            THEN 'a startTimeUnixNano and an endTimeUnixNano'
        WHEN is_no_number(value_of(attributes, 'voice_cost.usd')) THEN 'a voice_cost.usd that is a number'
        WHEN is_no_number(value_of(attributes, 'voice_cost.unreported.usd'))
            THEN 'a voice_cost.unreported.usd that is a number'
        WHEN len(list_filter(
            attributes, lambda pair : starts_with(pair.key, 'voice_cost.quantity.') AND (pair.value IS NULL OR is_no_number(pair.value))
        )) > 0 THEN 'amounts in voice_cost.quantity.* that are numbers'
    END AS expected
FROM (
    SELECT file, line, unnested.*
    FROM (SELECT file, line, unnest(spans) AS unnested FROM lines WHERE spans IS NOT NULL)
);

CREATE TABLE problems AS
SELECT
    file,
    line,
    CASE WHEN is_json THEN 'JSON of another kind' ELSE 'no complete JSON' END AS found,
    'a record of a call, or spans in OTLP JSON, on one line' AS expected
FROM lines
WHERE record IS NULL AND spans IS NULL
UNION ALL
SELECT file, line, 'a record with another value', expected FROM records WHERE expected IS NOT NULL
UNION ALL
SELECT file, line, 'a span with another value', expected FROM spans WHERE expected IS NOT NULL;

DROP TABLE lines;

-- A span that was exported twice counts once, with its cost if one of the two has it.
CREATE TEMP TABLE sound_spans AS
SELECT DISTINCT ON (trace, span) * EXCLUDE (expected)
FROM spans
WHERE expected IS NULL
ORDER BY trace, span, len(attributes) DESC;

DROP TABLE spans;

CREATE TEMP TABLE session_spans AS
SELECT
    trace || ':' || span AS call,
    trace,
    span,
    coalesce(first_of(attributes, $session_keys), trace) AS session,
    first_of(attributes, $agent_keys) AS agent,
    start_ns,
    end_ns,
    exact(value_of(attributes, 'voice_cost.session.usd')) AS usd,
    try_cast(value_of(attributes, 'voice_cost.session.unpriced') AS BIGINT) AS unpriced
FROM sound_spans
WHERE is_session;

-- Calls that are in files of both kinds are read from their spans, which tell requests apart.
CREATE TEMP TABLE sound_records AS
SELECT DISTINCT ON (call) *
FROM records
WHERE expected IS NULL AND call NOT IN (SELECT call FROM session_spans)
ORDER BY call, file, line;

DROP TABLE records;

CREATE TEMP TABLE usage_spans AS
SELECT
    *,
    value_of(attributes, 'voice_cost.usd') AS usd,
    value_of(attributes, 'voice_cost.unpriced') AS unpriced,
    value_of(attributes, 'voice_cost.unreported.reason') AS unreported
FROM sound_spans
WHERE usd IS NOT NULL OR unpriced IS NOT NULL OR unreported IS NOT NULL;

-- The turn and the session above each of them.
CREATE TEMP TABLE places AS
WITH RECURSIVE climb AS (
    SELECT trace, span, parent AS above, CASE WHEN is_turn THEN span END AS turn, 0 AS depth
    FROM usage_spans
    UNION ALL
    SELECT
        climb.trace, climb.span, higher.parent,
        coalesce(climb.turn, CASE WHEN higher.is_turn THEN higher.span END), climb.depth + 1
    FROM climb
    JOIN sound_spans AS higher ON higher.trace = climb.trace AND higher.span = climb.above
    WHERE NOT higher.is_session AND climb.depth < 64
)
SELECT trace, span, max(turn) AS turn, arg_max(above, depth) AS session_span
FROM climb
GROUP BY trace, span;

CREATE TEMP TABLE placed AS
SELECT
    usage_spans.*,
    places.turn,
    coalesce(session_spans.call, usage_spans.trace) AS call,
    coalesce(session_spans.session, usage_spans.trace) AS session,
    session_spans.agent
FROM usage_spans
JOIN places USING (trace, span)
LEFT JOIN session_spans ON session_spans.trace = places.trace AND session_spans.span = places.session_span;

DROP TABLE usage_spans;
DROP TABLE sound_spans;

-- Amounts that the framework reported and the vendor does not bill.
CREATE TABLE reported AS
SELECT request, unit, exact(amount) AS amount
FROM (
    SELECT
        trace || ':' || span AS request,
        field.unit AS unit,
        CASE
            WHEN field.field = '' THEN value_of(attributes, field.key)
            WHEN json_valid(value_of(attributes, field.key))
                THEN json_extract_string(value_of(attributes, field.key), '$.' || field.field)
        END AS amount
    FROM placed CROSS JOIN (SELECT unnest($reported_fields) AS field)
    WHERE (usd IS NOT NULL OR unpriced IS NOT NULL)
        AND value_of(attributes, field.key) IS NOT NULL
        AND value_of(attributes, 'voice_cost.quantity.' || field.unit) IS NULL
)
WHERE exact(amount) > 0 AND NOT is_no_number(amount);

CREATE TABLE usage AS
-- Amounts on spans. The cost of a span is that of all its units, so it is on the row of the first.
SELECT
    call,
    session,
    agent,
    trace,
    span,
    turn,
    make_timestamp_ns(end_ns)::TIMESTAMP AS used_at,
    value_of(attributes, 'voice_cost.component') AS component,
    coalesce(value_of(attributes, 'voice_cost.provider'), value_of(attributes, 'gen_ai.provider.name')) AS provider,
    coalesce(value_of(attributes, 'voice_cost.model'), value_of(attributes, 'gen_ai.request.model')) AS model,
    value_of(attributes, 'voice_cost.mode') AS mode,
    amount.key[21:] AS unit,
    exact(amount.value) AS amount,
    CASE WHEN position = 1 THEN exact(usd) END AS usd,
    CASE WHEN position = 1 THEN exact(coalesce(value_of(attributes, 'voice_cost.list_usd'), usd)) END AS list_usd,
    value_of(attributes, 'voice_cost.rate') AS rate,
    value_of(attributes, 'voice_cost.rate_source') AS rate_source,
    CAST(NULL AS VARCHAR) AS addon,
    coalesce(value_of(attributes, 'voice_cost.estimated') = 'true', false) AS estimated,
    unpriced,
    CAST(NULL AS VARCHAR) AS unreported,
    trace || ':' || span AS request,
    coalesce(value_of(attributes, 'voice_cost.component') = 'stt', false) AS is_sum
FROM (
    SELECT *, unnest(amounts) AS amount, generate_subscripts(amounts, 1) AS position
    FROM (
        SELECT
            *,
            list_filter(attributes, lambda pair : starts_with(pair.key, 'voice_cost.quantity.')) AS found,
            CASE WHEN len(found) > 0 THEN found ELSE [NULL] END AS amounts
        FROM placed
        WHERE usd IS NOT NULL OR unpriced IS NOT NULL
    )
)
UNION ALL
SELECT
    call, session, agent, trace, span, turn, make_timestamp_ns(end_ns)::TIMESTAMP,
    value_of(attributes, 'voice_cost.component'),
    value_of(attributes, 'voice_cost.unreported.provider'),
    value_of(attributes, 'voice_cost.unreported.model'),
    NULL, NULL, NULL, exact(value_of(attributes, 'voice_cost.unreported.usd')), NULL, NULL, NULL, NULL,
    true, NULL, unreported, trace || ':' || span, true
FROM placed
WHERE unreported IS NOT NULL AND usd IS NULL  -- else it is part of the cost
UNION ALL
-- Charges of records: sums of all requests to a model.
SELECT
    call, session, agent, trace, span, NULL, started AT TIME ZONE 'UTC',
    charge.x_Component, charge.ProviderName, charge.ServiceName, charge.x_Mode,
    charge.ConsumedUnit, exact(coalesce(charge.x_UsedQuantity, charge.ConsumedQuantity)), exact(charge.EffectiveCost),
    exact(coalesce(charge.ListCost, charge.EffectiveCost)),
    charge.ListUnitPrice || ' USD per ' || charge.PricingUnit, charge.x_RateSource, charge.x_AddOn,
    coalesce(charge.x_Estimated, false), charge.x_Unpriced, NULL,
    concat_ws(
        ':', call, charge.x_Component, charge.ProviderName, charge.ServiceName, charge.x_Mode,
        charge.x_Unpriced, CASE WHEN charge.x_RateSource = 'span' THEN 'span' END
    ),
    true
FROM (SELECT *, unnest(charges) AS charge FROM sound_records)
UNION ALL
SELECT
    call, session, agent, trace, span, NULL, started AT TIME ZONE 'UTC',
    part.x_Component, part.ProviderName, part.ServiceName,
    NULL, NULL, NULL, exact(part.x_LikelyCost), NULL, NULL, NULL, NULL, true, NULL, part.x_Reason,
    concat_ws(':', call, part.x_Component, part.ProviderName, part.ServiceName, part.x_Reason), true
FROM (SELECT *, unnest(unreported) AS part FROM sound_records)
WHERE part.x_LikelyCost IS NULL OR NOT coalesce(is_unreported_billed, false);

-- Usage outside of any session is one call for each trace, of unknown length.
CREATE TABLE calls AS
SELECT
    call, session, agent, trace,
    make_timestamp_ns(start_ns)::TIMESTAMP AS started_at,
    (end_ns - start_ns)::DECIMAL(38, 0)::DECIMAL(38, 9) * 0.000000001::DECIMAL(9, 9) AS seconds,
    usd,
    coalesce(unpriced, 0) AS unpriced
FROM session_spans
UNION ALL
SELECT
    call, session, agent, trace, started AT TIME ZONE 'UTC', exact(seconds), exact(usd),
    coalesce(try_cast(unpriced AS BIGINT), 0)
FROM sound_records
UNION ALL
SELECT
    call, any_value(session), NULL, any_value(trace), min(used_at), NULL, NULL,
    count(DISTINCT request) FILTER (unpriced IS NOT NULL)
FROM usage
WHERE call = trace
GROUP BY call;
