-- Purpose: whether transactions have ended for everybody who reads from now on. A walsender sends a commit as soon as it is durable, which is
-- before others see it, and long before where a synchronous standby is waited for: an event that is read too early finds the old row.
-- Inputs: $1 their ids. Touches: no table. Returns besides the next id to be given.
WITH now AS MATERIALIZED (SELECT pg_current_snapshot() AS snapshot)
SELECT NOT EXISTS (SELECT FROM unnest($1::text[]) AS t (id) WHERE NOT pg_visible_in_snapshot(id::xid8, now.snapshot)) AS are_visible,
       pg_snapshot_xmax(now.snapshot)::text AS next
FROM now
