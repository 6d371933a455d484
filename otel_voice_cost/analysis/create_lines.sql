-- Tables that all readers fill, and the macros of the other files.
CREATE TABLE problems (file VARCHAR, line BIGINT, found VARCHAR, expected VARCHAR);

-- Spans, narrowed to this package's attributes and the ids. `keys` and `texts` are the attributes, in the same order.
CREATE TABLE raw_spans (
    file VARCHAR, line BIGINT, trace VARCHAR, span VARCHAR, parent VARCHAR, start_ns BIGINT, end_ns BIGINT,
    "session" VARCHAR, keys VARCHAR[], texts VARCHAR[]
);

CREATE TABLE raw_records (
    file VARCHAR,
    line BIGINT,
    record STRUCT(
        started TIMESTAMPTZ, usd VARCHAR, "session" VARCHAR, trace VARCHAR, span VARCHAR, agent VARCHAR, revision VARCHAR,
        seconds VARCHAR, unpriced VARCHAR, is_unreported_billed BOOLEAN,
        charges STRUCT(
            ProviderName VARCHAR, ServiceName VARCHAR, x_Component VARCHAR, x_Mode VARCHAR, ConsumedUnit VARCHAR,
            ConsumedQuantity VARCHAR, x_UsedQuantity VARCHAR, EffectiveCost VARCHAR, ListCost VARCHAR,
            ListUnitPrice VARCHAR, PricingUnit VARCHAR, x_RateSource VARCHAR, x_AddOn VARCHAR, x_Estimated BOOLEAN, x_Unpriced VARCHAR
        )[],
        unreported STRUCT(
            ProviderName VARCHAR, ServiceName VARCHAR, x_Component VARCHAR, x_Reason VARCHAR, x_LikelyCost VARCHAR
        )[]
    )
);

-- Numbers keep 24 decimal places: this package writes 18, and a gateway's cost of a hundred-thousandth may have 21.
CREATE MACRO exact(text) AS try_cast(text AS DECIMAL(38, 24));
CREATE MACRO is_no_number(text) AS text IS NOT NULL AND (exact(text) IS NULL OR abs(exact(text)) >= 1000000000000);
CREATE MACRO is_no_time(moment) AS moment IS NULL OR moment NOT BETWEEN TIMESTAMPTZ '1970-01-01' AND '2200-01-01';
CREATE MACRO text_of(keys, texts, wanted) AS texts[list_position(keys, wanted)];
CREATE MACRO first_of(keys, texts, wanted) AS list_filter(
    list_transform(wanted, lambda key : text_of(keys, texts, key)), lambda value : value <> ''
)[1];
-- The amount in a field of a JSON attribute, or in the attribute if the field has no name.
CREATE MACRO reported_of(keys, texts, wanted) AS CASE
    WHEN wanted.field = '' THEN text_of(keys, texts, wanted.key)
    WHEN json_valid(text_of(keys, texts, wanted.key)) THEN text_of(keys, texts, wanted.key)::JSON ->> wanted.field
END;
CREATE MACRO is_kept(key, kept) AS starts_with(key, 'voice_cost.') OR list_contains(kept, key);
-- JSON that an export may have written as text.
CREATE MACRO unquoted(json) AS CASE json_type(json) WHEN 'VARCHAR' THEN try_cast(json ->> '$' AS JSON) ELSE json END;
CREATE MACRO nanoseconds(moment) AS epoch_ns(try_cast(moment AS TIMESTAMPTZ))::VARCHAR;
