-- Purpose: the findings of a look that it did not see again, although it looked there, are over; those that a person has resolved, too, so
--          that they open again where they come back. Inputs: $1 run, $2 the look, $3 reference types that it looked at, $4 whether at
--          what is of no table. Touches: reconciliation_findings.
UPDATE daybook.reconciliation_findings
SET resolved_at = coalesce(resolved_at, clock_timestamp()),
    resolution = CASE WHEN repaired_at IS NULL THEN 'gone' ELSE 'repaired' END
WHERE (resolved_at IS NULL OR resolution = 'resolved') AND found_by = $2 AND run_id < $1
  AND (reference_type = ANY ($3::text[]) OR reference_type IS NULL AND $4::boolean)
RETURNING finding_key
