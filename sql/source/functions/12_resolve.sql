-- Purpose: close a parked bill's dead letter by hand, with a note. The bill stays as it is in the ledger; if it fails
--          again, the dead letter is opened again.
-- Inputs: the bill, and why it needs nothing more. Touches: sync_dead_letter. Returns whether one was open.
CREATE OR REPLACE FUNCTION daybook.resolve(reference_type text, reference_id text, note text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE daybook.sync_dead_letter AS d
    SET resolved_at = clock_timestamp(), resolution = 'resolved', resolved_by = session_user, note = resolve.note
    WHERE d.reference_type = resolve.reference_type AND d.reference_id = resolve.reference_id AND d.resolved_at IS NULL;
    RETURN FOUND;
END
$$;
