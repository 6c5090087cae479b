-- Purpose: what a server makes of a time zone: the local times of given instants, in their order. Where it does not know the zone, it fails
--          with invalid_parameter_value; to look into pg_timezone_names first would read all of its zone files.
-- Inputs: $1 the zone, $2 instants as text with an offset. Touches: nothing.
SELECT jsonb_agg(timezone($1, i.instant::timestamptz)::text ORDER BY i.at)
FROM unnest($2::text[]) WITH ORDINALITY AS i (instant, at)
