-- Purpose: what a server makes of time zones: the local times of given instants, null where it does not know the zone.
-- Inputs: $1 names, $2 instants as text with an offset. Touches: the server's time zone files, read only.
SELECT jsonb_object_agg(name, CASE WHEN EXISTS (SELECT FROM pg_timezone_names AS known WHERE lower(known.name) = lower(z.name))
                                   THEN (SELECT jsonb_agg(timezone(z.name, instant::timestamptz)::text) FROM unnest($2::text[]) AS instant)
                              END)
FROM unnest($1::text[]) AS z (name)
