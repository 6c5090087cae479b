-- Purpose: the findings that are open, whichever run saw them last: as long as there is one, nothing is proven. Inputs: $1 reference type, null
--          for all and for what is of no table; $2 site, null for all. Touches: reconciliation_findings, read only.
SELECT count(*) AS open
FROM daybook.reconciliation_findings
WHERE resolved_at IS NULL AND severity = 'critical' AND ($1::text IS NULL OR reference_type = $1)
  AND ($2::text IS NULL OR site IS NULL OR site = $2)
