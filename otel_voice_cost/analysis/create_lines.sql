-- The lines of all files, narrowed to what is priced: of a span, the attributes of this package and the ids.
CREATE TABLE lines (
    file VARCHAR,
    line BIGINT,
    is_json BOOLEAN,
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
    ),
    spans STRUCT(
        trace VARCHAR, span VARCHAR, parent VARCHAR, start_ns BIGINT, end_ns BIGINT,
        attributes STRUCT(key VARCHAR, "value" VARCHAR)[]
    )[]
);

-- Numbers keep 24 decimal places: this package writes 18, and a gateway's cost of a hundred-thousandth may have 21.
CREATE MACRO exact(text) AS try_cast(text AS DECIMAL(38, 24));
CREATE MACRO is_no_number(text) AS text IS NOT NULL AND (exact(text) IS NULL OR abs(exact(text)) >= 1000000000000);
CREATE MACRO is_no_time(moment) AS moment IS NULL OR moment NOT BETWEEN TIMESTAMPTZ '1970-01-01' AND '2200-01-01';
CREATE MACRO value_of(attributes, wanted) AS list_filter(attributes, lambda pair : pair.key = wanted)[1].value;
CREATE MACRO first_of(attributes, wanted) AS list_filter(
    list_transform(wanted, lambda key : value_of(attributes, key)), lambda value : value <> ''
)[1];
