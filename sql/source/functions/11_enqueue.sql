-- Purpose: the id of a bill as the queue spells it. A composite key is a JSON array of texts; blanks in it mean nothing, and a number
--          stands for its text. Inputs: reference type, and the id as a person writes it. Touches: sync_source, read only.
CREATE OR REPLACE FUNCTION daybook.canonical_id(reference_type text, reference_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF (SELECT cardinality(s.key_columns) > 1 FROM daybook.sync_source AS s WHERE s.reference_type = canonical_id.reference_type) THEN
        RETURN (SELECT jsonb_agg(CASE jsonb_typeof(part) WHEN 'number' THEN to_jsonb(trim_scale(part::numeric)::text) ELSE part END
                                 ORDER BY position)::text
                FROM jsonb_array_elements(canonical_id.reference_id::jsonb) WITH ORDINALITY AS parts (part, position));
    END IF;
    RETURN canonical_id.reference_id;
EXCEPTION WHEN data_exception THEN
    RAISE EXCEPTION 'the id of a bill of % is a JSON array of texts', canonical_id.reference_type
        USING HINT = 'Such as ["2024", "17"].';
END
$$;

-- Purpose: one event, of a bill or, without id, of a whole table. What all of the functions below come down to.
-- Inputs: reference type of an attached table, canonical id or null. Touches: sync_queue. Returns its number.
CREATE OR REPLACE FUNCTION daybook.put_in_queue(reference_type text, reference_id text, operation text, origin text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    new_seq bigint;
BEGIN
    INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation, origin)
    SELECT s.source, s.reference_type, put_in_queue.reference_id, put_in_queue.operation, put_in_queue.origin
    FROM daybook.sync_source AS s
    WHERE s.reference_type = put_in_queue.reference_type
    RETURNING seq INTO new_seq;
    IF new_seq IS NULL THEN
        RAISE EXCEPTION 'no attached table has the reference type %', quote_nullable(put_in_queue.reference_type)
            USING HINT = 'Attached tables stand in daybook.sync_source.';
    END IF;
    RETURN new_seq;
END
$$;

-- Purpose: have a bill synchronised. Capture, backfill, repair, retry and healing are all this one act.
-- Inputs: reference type and key text of a bill, whether or not it exists. Touches: sync_queue.
CREATE OR REPLACE FUNCTION daybook.enqueue(
    reference_type text, reference_id text, origin text DEFAULT 'repair', operation text DEFAULT 'synchronise'
) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF enqueue.reference_id IS NULL THEN
        RAISE EXCEPTION 'the id of a bill is null' USING HINT = 'A whole table: SELECT daybook.reconcile(relation).';
    END IF;
    RETURN daybook.put_in_queue(enqueue.reference_type, daybook.canonical_id(enqueue.reference_type, enqueue.reference_id),
                                enqueue.operation, enqueue.origin);
END
$$;

-- Purpose: reverse a bill whose entries were retained when its row disappeared. Has no effect if the row is back.
CREATE OR REPLACE FUNCTION daybook.release(reference_type text, reference_id text) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT daybook.enqueue(reference_type, reference_id, 'retry', 'release')
$$;

-- Purpose: the same for every bill of a table that the brake held.
CREATE OR REPLACE FUNCTION daybook.release_held(reference_type text) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT daybook.put_in_queue(reference_type, NULL, 'release', 'retry')
$$;

-- Purpose: the row of an attached table. Touches: sync_source, read only.
CREATE OR REPLACE FUNCTION daybook.attached(relation regclass) RETURNS daybook.sync_source
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    definition daybook.sync_source;
BEGIN
    SELECT * INTO definition FROM daybook.sync_source AS s WHERE s.relation = attached.relation;
    IF definition.relation IS NULL THEN
        RAISE EXCEPTION '% is not attached', attached.relation USING HINT = 'Attached tables stand in daybook.sync_source.';
    END IF;
    RETURN definition;
END
$$;

-- Purpose: have a whole table synchronised: every key that it holds, and every bill that the ledger knows, once each transaction
--          older than this one has ended. For what bypassed capture: a restored table, a suspended one, another rule.
CREATE OR REPLACE FUNCTION daybook.reconcile(relation regclass) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT daybook.put_in_queue((daybook.attached(relation)).reference_type, NULL, 'reconcile', 'repair')
$$;

-- Purpose: enqueue the bills that a table held before it was attached, in chunks, in key order. One that is under way already
--          goes on where it is. Returns its event.
CREATE OR REPLACE FUNCTION daybook.backfill(relation regclass) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    definition daybook.sync_source := daybook.attached(backfill.relation);
BEGIN
    IF definition.suspended_at IS NOT NULL THEN
        RAISE EXCEPTION '% is suspended', relation USING HINT = 'daybook.resume has all of it synchronised.';
    END IF;
    RETURN coalesce((SELECT min(q.seq) FROM daybook.sync_queue AS q
                     WHERE q.reference_type = definition.reference_type AND q.operation = 'reconcile' AND q.origin = 'backfill'),
                    daybook.put_in_queue(definition.reference_type, NULL, 'reconcile', 'backfill'));
END
$$;
