-- Purpose: the findings of a look that it did not see again, although it looked there, are over. Inputs: $1 run, $2 the look, $3 reference
--          types that it looked at, null for every one and for what is of no table. Touches: reconciliation_findings.
UPDATE daybook.reconciliation_findings
SET resolved_at = clock_timestamp(), resolution = CASE WHEN repaired_at IS NULL THEN 'gone' ELSE 'repaired' END
WHERE resolved_at IS NULL AND found_by = $2 AND run_id < $1 AND ($3::text[] IS NULL OR reference_type = ANY ($3))
RETURNING finding_key
