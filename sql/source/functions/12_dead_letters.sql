-- Purpose: what an operator does about parked bills. Each asks for a bill that was parked once: a mistyped id is refused, and leaves
--          nothing behind. Touches: sync_dead_letter, sync_queue.

-- Each spell in which a bill was parked. attempts: how often the event failed that parked it, as long as the audit log tells.
CREATE OR REPLACE VIEW daybook.dead_letters AS
    SELECT d.source, d.reference_type, d.reference_id, coalesce(d.resolution, 'open') AS state, d.reason, d.advice, d.parked_at,
           d.event_seq, a.attempts, d.spell, d.resolved_at, CASE WHEN d.resolved_at IS NOT NULL THEN d.resolved_by END AS resolved_by,
           CASE WHEN d.resolved_at IS NOT NULL THEN d.note END AS note
    FROM daybook.sync_dead_letter AS d
    LEFT JOIN LATERAL (SELECT max(l.attempts) AS attempts FROM daybook.sync_audit_log AS l
                       WHERE l.reference_type = d.reference_type AND l.reference_id = d.reference_id AND l.seq = d.event_seq) AS a ON true;

-- Purpose: the canonical id of a bill that has a dead letter, open or not.
CREATE OR REPLACE FUNCTION daybook.known_dead_letter(reference_type text, reference_id text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    id text := daybook.canonical_id(known_dead_letter.reference_type, known_dead_letter.reference_id);
BEGIN
    IF EXISTS (SELECT FROM daybook.sync_dead_letter AS d WHERE d.reference_type = known_dead_letter.reference_type AND d.reference_id = id) THEN
        RETURN id;
    END IF;
    RAISE EXCEPTION 'no bill % % was ever parked', quote_nullable(known_dead_letter.reference_type), quote_nullable(known_dead_letter.reference_id)
        USING HINT = 'Parked bills stand in daybook.dead_letters, by reference type, such as PHARMACY, and id.';
END
$$;

-- Purpose: try a parked bill again. Its dead letter is resolved as 'retried' when that succeeds.
CREATE OR REPLACE FUNCTION daybook.retry(reference_type text, reference_id text) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT daybook.put_in_queue(reference_type, daybook.known_dead_letter(reference_type, reference_id), 'synchronise', 'retry')
$$;

-- Purpose: the same for every bill that is parked now, of one table or of all, in one statement. One that waits for its retry already
--          is left out. Returns how many.
CREATE OR REPLACE FUNCTION daybook.retry_all(reference_type text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
-- One probe of the queue's index for each letter, whatever the statistics say of a queue that was small a moment ago.
#variable_conflict use_column
DECLARE
    count bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM daybook.sync_source AS s WHERE s.reference_type = retry_all.reference_type)
       AND retry_all.reference_type IS NOT NULL THEN
        RAISE EXCEPTION 'no attached table has the reference type %', quote_nullable(retry_all.reference_type)
            USING HINT = 'Attached tables stand in daybook.sync_source.';
    END IF;
    INSERT INTO daybook.sync_queue (source, reference_type, reference_id, operation, origin)
    SELECT s.source, d.reference_type, d.reference_id, 'synchronise', 'retry'
    FROM daybook.sync_dead_letter AS d
    JOIN daybook.sync_source AS s ON s.reference_type = d.reference_type
    LEFT JOIN LATERAL (SELECT true AS waits FROM daybook.sync_queue AS q
                       WHERE q.reference_type = d.reference_type AND q.reference_id = d.reference_id AND q.origin = 'retry'
                       LIMIT 1) AS r ON true
    WHERE d.resolved_at IS NULL AND (retry_all.reference_type IS NULL OR d.reference_type = retry_all.reference_type) AND r.waits IS NULL
    GROUP BY s.source, d.reference_type, d.reference_id
    ORDER BY min(d.parked_at);
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN count;
END
$$;

-- Purpose: say of a parked bill that it need not be posted. Its dead letter is closed at once; its event brings the word to the ledger,
--          where the bill then keeps no period from being closed. It stays resolved until its row changes or it is retried: if it
--          still cannot be posted then, it is parked anew, with a dead letter of its own.
-- Inputs: the bill, and why it needs nothing more. Returns whether its dead letter was open.
CREATE OR REPLACE FUNCTION daybook.resolve(reference_type text, reference_id text, note text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    id text := daybook.known_dead_letter(resolve.reference_type, resolve.reference_id);
    was_open boolean;
BEGIN
    IF (resolve.note ~ '\S') IS NOT TRUE THEN
        RAISE EXCEPTION 'resolving takes a note' USING HINT = 'Why the bill need not be posted; it is kept with its dead letter.';
    END IF;
    UPDATE daybook.sync_dead_letter AS d
    SET resolved_at = clock_timestamp(), resolution = 'resolved', resolved_by = session_user, note = btrim(resolve.note, E' \t\r\n')
    WHERE d.reference_type = resolve.reference_type AND d.reference_id = id AND d.resolved_at IS NULL;
    was_open := FOUND;
    -- Also where it is closed already: a ledger that was restored may have forgotten the word.
    PERFORM daybook.put_in_queue(resolve.reference_type, id, 'resolve', 'retry');
    RETURN was_open;
END
$$;
