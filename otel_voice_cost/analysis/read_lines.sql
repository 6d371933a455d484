-- Append the lines of one file to `lines`: a record of a call, an OTLP request, or neither.
-- Parameters: path, name to show, attributes that are kept.
-- DuckDB's buffers are as large as the longest object allowed; with 256 MB, a file takes twice the time and memory.
INSERT INTO lines
WITH content AS (
    SELECT
        row_number() OVER () AS line,
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
            }]}]}]
        }') AS content
    FROM read_ndjson_objects($path, ignore_errors = true, maximum_object_size = 33554432)
)
SELECT
    $name AS file,
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
    list_transform(
        flatten(list_transform(
            flatten(list_transform(content.resourceSpans, lambda resource : coalesce(resource.scopeSpans, []))),
            lambda scope : coalesce(scope.spans, [])
        )),
        lambda span : struct_pack(
            trace := span.traceId,
            span := span.spanId,
            parent := span.parentSpanId,
            start_ns := try_cast(span.startTimeUnixNano AS BIGINT),
            end_ns := try_cast(span.endTimeUnixNano AS BIGINT),
            attributes := list_transform(
                list_filter(
                    coalesce(span.attributes, []),
                    lambda attribute : starts_with(attribute.key, 'voice_cost.')
                        OR list_contains($kept, attribute.key)
                ),
                lambda attribute : struct_pack(
                    key := attribute.key,
                    value := coalesce(
                        attribute.value.stringValue, attribute.value.intValue,
                        attribute.value.doubleValue, attribute.value.boolValue
                    )
                )
            )
        )
    ) AS spans
FROM content;
