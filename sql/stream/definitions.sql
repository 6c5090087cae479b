-- Purpose: the attached tables as the stream reads them: keys, their types when they were attached, and the mode. Beside them the OID of the
-- queue. Touches: sync_source and the catalog, read only.
SELECT s.relation::oid AS relation, s.reference_type, s.key_columns, s.capture_mode, s.suspended_at IS NOT NULL AS is_suspended,
       (s.capture_mode_since - '0/0')::bigint AS mode_since, k.ids AS key_type_ids, k.names AS key_types
FROM daybook.sync_source AS s
CROSS JOIN LATERAL (
    -- A domain may be gone: then its key is none as it was attached, and not a shorter one.
    SELECT array_agg(k.type::oid ORDER BY position) AS ids,
           array_agg(format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE k.type::oid END, -1) ORDER BY position) AS names
    FROM unnest(s.key_types) WITH ORDINALITY AS k (type, position)
    LEFT JOIN pg_type AS t ON t.oid = k.type) AS k
