-- Purpose: the bills of a table that have a finding that is open, or that a person has resolved and that may be gone, a page at a time.
-- Inputs: $1 reference type, $2 the last id before, $3 page size, $4 the look.
-- Touches: reconciliation_findings, read only.
SELECT DISTINCT reference_id COLLATE "C" AS reference_id
FROM daybook.reconciliation_findings
WHERE (resolved_at IS NULL OR resolution = 'resolved') AND found_by = $4 AND reference_type = $1 AND reference_id COLLATE "C" > $2
ORDER BY 1
LIMIT $3
