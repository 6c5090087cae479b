-- Purpose: say of a finding of reconciliation that nothing needs to be done. It stays closed as long as it is the same; if it changes, or
--          comes back after it was gone, it opens again. A bill that differs still keeps the ledger from being proven.
-- Inputs: the finding's key, and why; returns whether it was open. Touches: reconciliation_findings.
CREATE OR REPLACE FUNCTION daybook.resolve_finding(finding_key text, note text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF (resolve_finding.note ~ '\S') IS NOT TRUE THEN
        RAISE EXCEPTION 'resolving takes a note' USING HINT = 'Why nothing needs to be done; it is kept with the finding.';
    ELSIF NOT EXISTS (SELECT FROM daybook.reconciliation_findings AS f WHERE f.finding_key = resolve_finding.finding_key) THEN
        RAISE EXCEPTION 'there is no finding %', quote_nullable(resolve_finding.finding_key)
            USING HINT = 'Findings stand in daybook.reconciliation_findings, by finding_key.';
    END IF;
    UPDATE daybook.reconciliation_findings AS f
    SET resolved_at = clock_timestamp(), resolution = 'resolved', resolved_by = session_user, note = btrim(resolve_finding.note, E' \t\r\n')
    WHERE f.finding_key = resolve_finding.finding_key AND f.resolved_at IS NULL;
    RETURN FOUND;
END
$$;
