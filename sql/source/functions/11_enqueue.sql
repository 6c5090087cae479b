-- Purpose: have a bill synchronised. Capture, backfill, repair, retry and healing are all this one act.
-- Inputs: reference type and canonical key text of a bill, whether or not it exists. Touches: sync_queue.
CREATE OR REPLACE FUNCTION daybook.enqueue(
    reference_type text, reference_id text, origin text DEFAULT 'repair', operation text DEFAULT 'synchronise'
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    new_seq bigint;
BEGIN
    INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation, origin)
    SELECT s.source, s.reference_type, enqueue.reference_id, enqueue.operation, enqueue.origin
    FROM daybook.sync_source AS s
    WHERE s.reference_type = enqueue.reference_type AND enqueue.reference_id IS NOT NULL
    RETURNING seq INTO new_seq;
    IF new_seq IS NULL THEN
        RAISE EXCEPTION 'no attached table has the reference type %, or the reference id is null',
            quote_nullable(enqueue.reference_type)
            USING HINT = 'Attached tables stand in daybook.sync_source.';
    END IF;
    RETURN new_seq;
END
$$;

-- Purpose: try a parked bill again. Its dead letter is resolved as 'retried' when that succeeds.
CREATE OR REPLACE FUNCTION daybook.retry(reference_type text, reference_id text) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT daybook.enqueue(reference_type, reference_id, 'retry')
$$;

-- Purpose: reverse a bill that was retained when its row disappeared (by TRUNCATE). Has no effect if the row is back.
CREATE OR REPLACE FUNCTION daybook.release(reference_type text, reference_id text) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT daybook.enqueue(reference_type, reference_id, 'retry', 'release')
$$;
