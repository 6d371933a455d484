-- From `raw_spans` and `raw_records` to the tables `usage`, `calls` and `reported`, and more `problems`. Parameters: keys
-- of session ids, keys of agents' names, fields of reported amounts.
-- Groups have rows of a fixed size, without lists, so that those of many spans can leave memory for the disk.

CREATE TABLE spans AS
WITH read AS (
    SELECT
        file,
        line,
        trace,
        span,
        nullif(parent, '') AS parent,
        start_ns,
        end_ns,
        coalesce(first_of(keys, texts, $session_keys), session) AS session,
        first_of(keys, texts, $agent_keys) AS agent,
        text_of(keys, texts, 'voice_cost.revision') AS revision,
        len(keys) AS attribute_count,
        text_of(keys, texts, 'voice_cost.usd') AS usd,
        text_of(keys, texts, 'voice_cost.list_usd') AS list_usd,
        text_of(keys, texts, 'voice_cost.unpriced') AS unpriced,
        text_of(keys, texts, 'voice_cost.component') AS component,
        coalesce(text_of(keys, texts, 'voice_cost.provider'), text_of(keys, texts, 'gen_ai.provider.name')) AS provider,
        coalesce(text_of(keys, texts, 'voice_cost.model'), text_of(keys, texts, 'gen_ai.request.model')) AS model,
        text_of(keys, texts, 'voice_cost.mode') AS mode,
        text_of(keys, texts, 'voice_cost.rate') AS rate,
        text_of(keys, texts, 'voice_cost.rate_source') AS rate_source,
        text_of(keys, texts, 'voice_cost.estimated') AS estimated,
        text_of(keys, texts, 'voice_cost.session.usd') AS session_usd,
        text_of(keys, texts, 'voice_cost.session.unpriced') AS session_unpriced,
        text_of(keys, texts, 'voice_cost.turn.usd') IS NOT NULL AS is_turn,
        text_of(keys, texts, 'voice_cost.unreported.reason') AS unreported,
        text_of(keys, texts, 'voice_cost.unreported.usd') AS unreported_usd,
        text_of(keys, texts, 'voice_cost.unreported.provider') AS unreported_provider,
        text_of(keys, texts, 'voice_cost.unreported.model') AS unreported_model,
        list_transform(
            list_filter(list_zip(keys, texts), lambda pair : starts_with(pair[1], 'voice_cost.quantity.')),
            lambda pair : struct_pack(unit := pair[1][21:], amount := pair[2])
        ) AS amounts,
        list_transform(
            $reported_fields, lambda field : struct_pack(unit := field.unit, amount := exact(reported_of(keys, texts, field)))
        ) AS reported_amounts
    FROM raw_spans
)
SELECT
    *,
    CASE
        WHEN trace IS NULL OR span IS NULL THEN 'a traceId and a spanId'
        WHEN is_no_time(make_timestamp_ns(end_ns)::TIMESTAMPTZ) OR is_no_time(make_timestamp_ns(start_ns)::TIMESTAMPTZ)
            THEN 'a startTimeUnixNano and an endTimeUnixNano'
        WHEN is_no_number(usd) THEN 'a voice_cost.usd that is a number'
        WHEN is_no_number(unreported_usd) THEN 'a voice_cost.unreported.usd that is a number'
        WHEN len(list_filter(amounts, lambda pair : pair.amount IS NULL OR is_no_number(pair.amount))) > 0
            THEN 'amounts in voice_cost.quantity.* that are numbers'
    END AS expected
FROM read;

DROP TABLE raw_spans;

INSERT INTO problems
SELECT file, line, 'a span with another value', expected FROM spans WHERE expected IS NOT NULL;

-- A span that was exported twice counts once, with its cost if one of the two has it.
CREATE TABLE links AS
SELECT trace, span, max(parent) AS parent, bool_or(is_turn) AS is_turn, bool_or(session_usd IS NOT NULL) AS is_session
FROM spans
WHERE expected IS NULL
GROUP BY trace, span;

CREATE TABLE sound_spans AS
SELECT *
FROM spans
WHERE rowid IN (
    SELECT arg_max(rowid, attribute_count)
    FROM spans
    WHERE expected IS NULL
        AND coalesce(session_usd, usd, unpriced, unreported) IS NOT NULL
    GROUP BY trace, span
);

DROP TABLE spans;

CREATE TABLE session_spans AS
SELECT
    trace || ':' || span AS call,
    trace,
    span,
    coalesce(session, trace) AS session,
    agent,
    revision,
    start_ns,
    end_ns,
    exact(session_usd) AS usd,
    try_cast(session_unpriced AS BIGINT) AS unpriced
FROM sound_spans
WHERE session_usd IS NOT NULL;

-- The turn and the session above each span with usage.
CREATE TABLE places AS
WITH RECURSIVE climb AS (
    SELECT trace, span, parent AS above, CASE WHEN is_turn THEN span END AS turn, 0 AS depth
    FROM sound_spans
    WHERE coalesce(usd, unpriced, unreported) IS NOT NULL
    UNION ALL
    SELECT
        climb.trace, climb.span, higher.parent,
        coalesce(climb.turn, CASE WHEN higher.is_turn THEN higher.span END), climb.depth + 1
    FROM climb
    JOIN links AS higher ON higher.trace = climb.trace AND higher.span = climb.above
    WHERE NOT higher.is_session AND climb.depth < 64
)
SELECT trace, span, max(turn) AS turn, arg_max(above, depth) AS session_span
FROM climb
GROUP BY trace, span;

DROP TABLE links;

CREATE TABLE placed AS
SELECT
    sound_spans.* EXCLUDE (session, agent, revision),
    places.turn,
    coalesce(session_spans.call, sound_spans.trace) AS call,
    coalesce(session_spans.session, sound_spans.trace) AS session,
    session_spans.agent,
    coalesce(sound_spans.revision, session_spans.revision) AS revision,
    sound_spans.trace || ':' || sound_spans.span AS request,
    make_timestamp_ns(sound_spans.end_ns)::TIMESTAMP AS used_at
FROM sound_spans
JOIN places USING (trace, span)
LEFT JOIN session_spans ON session_spans.trace = places.trace AND session_spans.span = places.session_span;

DROP TABLE places;
DROP TABLE sound_spans;

CREATE TABLE usage (
    call VARCHAR, "session" VARCHAR, agent VARCHAR, revision VARCHAR, trace VARCHAR, span VARCHAR, turn VARCHAR, used_at TIMESTAMP,
    component VARCHAR, provider VARCHAR, model VARCHAR, mode VARCHAR, unit VARCHAR, amount DECIMAL(38, 24),
    usd DECIMAL(38, 24), list_usd DECIMAL(38, 24), rate VARCHAR, rate_source VARCHAR, addon VARCHAR, estimated BOOLEAN,
    unpriced VARCHAR, unreported VARCHAR, request VARCHAR, is_sum BOOLEAN
);

-- Amounts on spans. The cost of a span is that of all its units, so it is on the row of the first.
INSERT INTO usage BY NAME
SELECT
    call, session, agent, revision, trace, span, turn, used_at, component, provider, model, mode,
    item.unit AS unit,
    exact(item.amount) AS amount,
    CASE WHEN position = 1 THEN exact(usd) END AS usd,
    CASE WHEN position = 1 THEN exact(coalesce(list_usd, usd)) END AS list_usd,
    rate, rate_source,
    coalesce(estimated = 'true', false) AS estimated,
    unpriced, request,
    coalesce(component = 'stt', false) AS is_sum
FROM (
    SELECT *, unnest(items) AS item, generate_subscripts(items, 1) AS position
    FROM (SELECT *, CASE WHEN len(amounts) > 0 THEN amounts ELSE [NULL] END AS items FROM placed)
    WHERE usd IS NOT NULL OR unpriced IS NOT NULL
);

INSERT INTO usage BY NAME
SELECT
    call, session, agent, revision, trace, span, turn, used_at, component,
    unreported_provider AS provider,
    unreported_model AS model,
    exact(unreported_usd) AS usd,
    true AS estimated,
    unreported, request,
    true AS is_sum
FROM placed
WHERE unreported IS NOT NULL AND usd IS NULL;  -- else it is part of the cost

-- Amounts that a request reported and its vendor does not bill.
CREATE TABLE reported AS
SELECT request, item.unit AS unit, item.amount AS amount
FROM (
    SELECT request, amounts, unnest(reported_amounts) AS item
    FROM placed
    WHERE usd IS NOT NULL OR unpriced IS NOT NULL
)
WHERE item.amount BETWEEN 0.000000001 AND 1000000000000
    AND NOT list_contains(list_transform(amounts, lambda pair : pair.unit), item.unit);

DROP TABLE placed;

-- Records, each once: a call that is in two files is the same call.
CREATE TABLE records AS
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
FROM raw_records;

DROP TABLE raw_records;

INSERT INTO problems
SELECT file, line, 'a record with another value', expected FROM records WHERE expected IS NOT NULL;

-- Calls that are in files of both kinds are read from their spans, which tell requests apart.
CREATE TABLE sound_records AS
SELECT *
FROM records
WHERE rowid IN (
    SELECT arg_min(rowid, struct_pack(file := file, line := line))
    FROM records
    WHERE expected IS NULL AND call NOT IN (SELECT call FROM session_spans)
    GROUP BY call
);

DROP TABLE records;

-- Charges of records: sums of all requests to a model.
INSERT INTO usage BY NAME
SELECT
    call, session, agent, revision, trace, span,
    started AT TIME ZONE 'UTC' AS used_at,
    charge.x_Component AS component,
    charge.ProviderName AS provider,
    charge.ServiceName AS model,
    charge.x_Mode AS mode,
    charge.ConsumedUnit AS unit,
    exact(coalesce(charge.x_UsedQuantity, charge.ConsumedQuantity)) AS amount,
    exact(charge.EffectiveCost) AS usd,
    exact(coalesce(charge.ListCost, charge.EffectiveCost)) AS list_usd,
    charge.ListUnitPrice || ' USD per ' || charge.PricingUnit AS rate,
    charge.x_RateSource AS rate_source,
    charge.x_AddOn AS addon,
    coalesce(charge.x_Estimated, false) AS estimated,
    charge.x_Unpriced AS unpriced,
    concat_ws(
        ':', call, charge.x_Component, charge.ProviderName, charge.ServiceName, charge.x_Mode,
        charge.x_Unpriced, CASE WHEN charge.x_RateSource = 'span' THEN 'span' END
    ) AS request,
    true AS is_sum
FROM (SELECT *, unnest(charges) AS charge FROM sound_records);

INSERT INTO usage BY NAME
SELECT
    call, session, agent, revision, trace, span,
    started AT TIME ZONE 'UTC' AS used_at,
    part.x_Component AS component,
    part.ProviderName AS provider,
    part.ServiceName AS model,
    exact(part.x_LikelyCost) AS usd,
    true AS estimated,
    part.x_Reason AS unreported,
    concat_ws(':', call, part.x_Component, part.ProviderName, part.ServiceName, part.x_Reason) AS request,
    true AS is_sum
FROM (SELECT *, unnest(unreported) AS part FROM sound_records)
WHERE part.x_LikelyCost IS NULL OR NOT coalesce(is_unreported_billed, false);

-- Usage outside of any session is one call for each trace, of unknown length.
CREATE TABLE calls AS
SELECT
    call, session, agent, revision, trace,
    make_timestamp_ns(start_ns)::TIMESTAMP AS started_at,
    (end_ns - start_ns)::DECIMAL(38, 0)::DECIMAL(38, 9) * 0.000000001::DECIMAL(9, 9) AS seconds,
    usd,
    coalesce(unpriced, 0) AS unpriced
FROM session_spans
UNION ALL
SELECT
    call, session, agent, revision, trace, started AT TIME ZONE 'UTC', exact(seconds), exact(usd),
    coalesce(try_cast(unpriced AS BIGINT), 0)
FROM sound_records
UNION ALL
SELECT
    call, any_value(session), NULL, any_value(revision), any_value(trace), min(used_at), NULL, NULL,
    count(DISTINCT request) FILTER (unpriced IS NOT NULL)
FROM usage
WHERE call = trace
GROUP BY call;

DROP TABLE session_spans;
DROP TABLE sound_records;
