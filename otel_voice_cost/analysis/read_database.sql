-- Append spans of a database to `raw_spans`. Each attribute is a column of `incoming`, in the order of the keys.
-- Parameters: name to show, keys, whether the texts are JSON.
INSERT INTO raw_spans
WITH listed AS (
    SELECT *, list_value(*COLUMNS('^text_')) AS texts FROM incoming
), found AS (
    -- a map of ClickHouse has an empty text for an absent key
    SELECT *, list_filter(list_zip($keys, texts), lambda pair : pair[2] <> '') AS pairs FROM listed
)
SELECT
    $name, row_number() OVER (), trace, span, parent, start_ns, start_ns + duration_ns, NULL,
    list_transform(pairs, lambda pair : pair[1]),
    list_transform(pairs, lambda pair : CASE WHEN $is_json THEN try_cast(pair[2] AS JSON) ->> '$' ELSE pair[2] END)
FROM found;
