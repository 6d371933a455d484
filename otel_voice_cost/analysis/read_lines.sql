-- Append JSON to `raw_spans` and `raw_records`, and name what is neither. Each row of `incoming` is a line: a record of
-- a call, an OTLP request, or an observation of Langfuse. Parameters: name to show, attributes that are kept.
CREATE TEMP TABLE items AS
WITH content AS (
    SELECT
        line,
        json_transform(json, '{
            "ChargePeriodStart": "VARCHAR",
            "EffectiveCost": "VARCHAR",
            "x_SessionId": "VARCHAR",
            "x_TraceId": "VARCHAR",
            "x_SpanId": "VARCHAR",
            "x_AgentName": "VARCHAR",
            "x_Revision": "VARCHAR",
            "x_Seconds": "VARCHAR",
            "x_UnpricedUsages": "VARCHAR",
            "x_UnreportedCost": "VARCHAR",
            "x_CostWithUnreported": "VARCHAR",
            "Charges": [{
                "ProviderName": "VARCHAR",
                "ServiceName": "VARCHAR",
                "x_Component": "VARCHAR",
                "x_Mode": "VARCHAR",
                "ConsumedUnit": "VARCHAR",
                "ConsumedQuantity": "VARCHAR",
                "x_UsedQuantity": "VARCHAR",
                "EffectiveCost": "VARCHAR",
                "ListCost": "VARCHAR",
                "ListUnitPrice": "VARCHAR",
                "PricingUnit": "VARCHAR",
                "x_RateSource": "VARCHAR",
                "x_AddOn": "VARCHAR",
                "x_Estimated": "BOOLEAN",
                "x_Unpriced": "VARCHAR"
            }],
            "x_Unreported": [{
                "ProviderName": "VARCHAR",
                "ServiceName": "VARCHAR",
                "x_Component": "VARCHAR",
                "x_Reason": "VARCHAR",
                "x_LikelyCost": "VARCHAR"
            }],
            "resourceSpans": [{"scopeSpans": [{"spans": [{
                "traceId": "VARCHAR",
                "spanId": "VARCHAR",
                "parentSpanId": "VARCHAR",
                "startTimeUnixNano": "VARCHAR",
                "endTimeUnixNano": "VARCHAR",
                "attributes": [{"key": "VARCHAR", "value": {
                    "stringValue": "VARCHAR",
                    "intValue": "VARCHAR",
                    "doubleValue": "VARCHAR",
                    "boolValue": "VARCHAR"
                }}]
            }]}]}],
            "id": "VARCHAR",
            "traceId": "VARCHAR",
            "trace_id": "VARCHAR",
            "parentObservationId": "VARCHAR",
            "parent_observation_id": "VARCHAR",
            "startTime": "VARCHAR",
            "start_time": "VARCHAR",
            "endTime": "VARCHAR",
            "end_time": "VARCHAR",
            "sessionId": "VARCHAR",
            "session_id": "VARCHAR",
            "metadata": "JSON"
        }') AS content
    FROM incoming
), observed AS (
    SELECT *, unquoted(unquoted(content.metadata) -> 'attributes') AS metadata FROM content
), lines AS (
    SELECT
        line,
        content IS NOT NULL AS is_json,
        CASE WHEN content.Charges IS NOT NULL AND content.x_TraceId IS NOT NULL
            THEN struct_pack(
                started := try_cast(content.ChargePeriodStart AS TIMESTAMPTZ),
                usd := content.EffectiveCost,
                session := content.x_SessionId,
                trace := content.x_TraceId,
                span := content.x_SpanId,
                agent := content.x_AgentName,
                revision := content.x_Revision,
                seconds := content.x_Seconds,
                unpriced := content.x_UnpricedUsages,
                is_unreported_billed := exact(content.x_UnreportedCost) > 0
                    AND exact(content.x_CostWithUnreported) = exact(content.EffectiveCost),
                charges := content.Charges,
                unreported := coalesce(content.x_Unreported, [])
            )
        END AS record,
        nullif(coalesce(content.sessionId, content.session_id), '') AS session,
        CASE
            WHEN content.resourceSpans IS NOT NULL THEN flatten(list_transform(
                flatten(list_transform(content.resourceSpans, lambda resource : coalesce(resource.scopeSpans, []))),
                lambda scope : coalesce(scope.spans, [])
            ))
            WHEN content.id IS NOT NULL AND coalesce(content.traceId, content.trace_id) IS NOT NULL
                AND coalesce(content.startTime, content.start_time) IS NOT NULL
            THEN [struct_pack(
                traceId := coalesce(content.traceId, content.trace_id),
                spanId := content.id,
                parentSpanId := coalesce(content.parentObservationId, content.parent_observation_id),
                startTimeUnixNano := nanoseconds(coalesce(content.startTime, content.start_time)),
                endTimeUnixNano := nanoseconds(coalesce(
                    nullif(coalesce(content.endTime, content.end_time), ''), content.startTime, content.start_time
                )),  -- an event has no end
                attributes := list_transform(
                    coalesce(json_keys(metadata), []),
                    lambda key : struct_pack(
                        key := key,
                        value := struct_pack(
                            stringValue := metadata ->> ('/' || replace(replace(key, '~', '~0'), '/', '~1')),
                            intValue := NULL::VARCHAR, doubleValue := NULL::VARCHAR, boolValue := NULL::VARCHAR
                        )
                    )
                )
            )]
        END AS spans
    FROM observed
), unnested AS (
    SELECT
        line, is_json, record, session, spans IS NOT NULL AS is_of_spans,
        unnest(CASE WHEN len(spans) > 0 THEN spans ELSE [NULL] END) AS span  -- a line without spans is one row
    FROM lines
)
SELECT
    line,
    is_json,
    record,
    is_of_spans,
    span.traceId AS trace,
    span.spanId AS span,
    span.parentSpanId AS parent,
    try_cast(span.startTimeUnixNano AS BIGINT) AS start_ns,
    try_cast(span.endTimeUnixNano AS BIGINT) AS end_ns,
    session,
    list_transform(
        list_filter(span.attributes, lambda attribute : is_kept(attribute.key, $kept)),
        lambda attribute : struct_pack(
            key := attribute.key,
            value := coalesce(
                attribute.value.stringValue, attribute.value.intValue,
                attribute.value.doubleValue, attribute.value.boolValue
            )
        )
    ) AS attributes
FROM unnested;

INSERT INTO raw_records SELECT $name, line, record FROM items WHERE record IS NOT NULL;

INSERT INTO raw_spans
SELECT
    $name, line, trace, span, parent, start_ns, end_ns, session,
    coalesce(list_transform(attributes, lambda pair : pair.key), []),
    coalesce(list_transform(attributes, lambda pair : pair.value), [])
FROM items
WHERE is_of_spans AND (span IS NOT NULL OR attributes IS NOT NULL);

INSERT INTO problems
SELECT
    $name, line, CASE WHEN is_json THEN 'JSON of another kind' ELSE 'no complete JSON' END,
    'a record of a call, spans in OTLP JSON, or an observation of Langfuse, on one line'
FROM items
WHERE record IS NULL AND NOT is_of_spans;

DROP TABLE items;
