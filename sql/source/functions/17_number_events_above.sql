-- Purpose: let events be numbered above those that the ledger has seen, after a promotion or a restoration took the numbers back, so
--          that none is taken for an old one. Numbers only go forward.
-- Inputs: the highest number that the ledger has seen. Touches: the sequence of sync_queue.
CREATE OR REPLACE FUNCTION daybook.number_events_above(seen bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT setval(s, greatest(seen + 1000, nextval(s)), true)
    FROM (SELECT pg_get_serial_sequence('daybook.sync_queue', 'seq')::regclass AS s) AS of_queue
$$;
