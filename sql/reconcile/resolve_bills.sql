-- Purpose: bills that were looked at under their locks and found equal have no finding any more; one that a person has resolved may
--          come back. Inputs: $1 reference type, $2 ids.
-- Touches: reconciliation_findings.
UPDATE daybook.reconciliation_findings
SET resolved_at = coalesce(resolved_at, clock_timestamp()),
    resolution = CASE WHEN repaired_at IS NULL THEN 'gone' ELSE 'repaired' END
WHERE (resolved_at IS NULL OR resolution = 'resolved') AND found_by = 'bills' AND reference_type = $1 AND reference_id = ANY ($2::text[])
RETURNING finding_key
