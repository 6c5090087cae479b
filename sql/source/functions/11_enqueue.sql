-- Purpose: have a bill synchronised. Capture, backfill, repair, retry and healing are all this one act.
-- Inputs: reference type and canonical key text of a bill, whether or not it exists. Touches: sync_queue.
CREATE OR REPLACE FUNCTION daybook.enqueue(
    reference_type text, reference_id text, origin text DEFAULT 'repair', operation text DEFAULT 'synchronise'
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    new_seq bigint;
    canonical_id text := enqueue.reference_id;
BEGIN
    -- A composite key is a JSON array, and blanks in it mean nothing.
    IF (SELECT cardinality(s.key_columns) > 1 FROM daybook.sync_source AS s WHERE s.reference_type = enqueue.reference_type) THEN
        BEGIN
            canonical_id := canonical_id::jsonb::text;
        EXCEPTION WHEN OTHERS THEN
            RAISE EXCEPTION 'the id of a bill of % is a JSON array of texts', enqueue.reference_type
                USING HINT = 'Such as ["2024", "17"].';
        END;
    END IF;
    INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation, origin)
    SELECT s.source, s.reference_type, canonical_id, enqueue.operation, enqueue.origin
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

-- Purpose: reverse a bill whose entries were retained when its row disappeared. Has no effect if the row is back.
CREATE OR REPLACE FUNCTION daybook.release(reference_type text, reference_id text) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT daybook.enqueue(reference_type, reference_id, 'retry', 'release')
$$;

-- Purpose: the same for every bill of a table that the brake held.
CREATE OR REPLACE FUNCTION daybook.release_held(reference_type text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    new_seq bigint;
BEGIN
    INSERT INTO daybook.sync_queue (source, reference_type, operation, origin)
    SELECT s.source, s.reference_type, 'release', 'retry' FROM daybook.sync_source AS s
    WHERE s.reference_type = release_held.reference_type
    RETURNING seq INTO new_seq;
    IF new_seq IS NULL THEN
        RAISE EXCEPTION 'no attached table has the reference type %', quote_nullable(reference_type)
            USING HINT = 'Attached tables stand in daybook.sync_source.';
    END IF;
    RETURN new_seq;
END
$$;

-- Purpose: have a whole table synchronised: every key that it holds, and every bill that the ledger knows, once each transaction
--          older than this one has ended. For what bypassed capture: a restored table, a suspended one, another rule.
CREATE OR REPLACE FUNCTION daybook.reconcile(relation regclass) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    new_seq bigint;
BEGIN
    INSERT INTO daybook.sync_queue (source, reference_type, operation, origin)
    SELECT s.source, s.reference_type, 'reconcile', 'repair' FROM daybook.sync_source AS s WHERE s.relation = reconcile.relation
    RETURNING seq INTO new_seq;
    IF new_seq IS NULL THEN
        RAISE EXCEPTION '% is not attached', relation USING HINT = 'Attached tables stand in daybook.sync_source.';
    END IF;
    RETURN new_seq;
END
$$;

-- Purpose: enqueue the bills that a table held before it was attached, in chunks, in key order. One that is under way already
--          goes on where it is. Returns its event.
CREATE OR REPLACE FUNCTION daybook.backfill(relation regclass) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    definition daybook.sync_source;
    event_seq bigint;
BEGIN
    SELECT * INTO definition FROM daybook.sync_source AS s WHERE s.relation = backfill.relation;
    IF definition.relation IS NULL THEN
        RAISE EXCEPTION '% is not attached', relation USING HINT = 'Attached tables stand in daybook.sync_source.';
    ELSIF definition.suspended_at IS NOT NULL THEN
        RAISE EXCEPTION '% is suspended', relation USING HINT = 'daybook.resume has all of it synchronised.';
    END IF;
    SELECT q.seq INTO event_seq FROM daybook.sync_queue AS q
    WHERE q.reference_type = definition.reference_type AND q.operation = 'reconcile' AND q.origin = 'backfill'
    ORDER BY q.seq LIMIT 1;
    IF event_seq IS NULL THEN
        INSERT INTO daybook.sync_queue (source, reference_type, operation, origin)
        VALUES (definition.source, definition.reference_type, 'reconcile', 'backfill') RETURNING seq INTO event_seq;
    END IF;
    RETURN event_seq;
END
$$;
