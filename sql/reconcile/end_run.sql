-- Purpose: end a run with what came of it. Inputs: $1 its id, $2 outcome, $3 proven until, $4 what it covered, $5 findings, $6 repairs,
--          $7 error. Touches: reconciliation_runs.
UPDATE daybook.reconciliation_runs
SET ended_at = clock_timestamp(), heartbeat_at = clock_timestamp(), outcome = $2, proven_until = $3, covered = $4, findings = $5, repairs = $6,
    error = $7
WHERE run_id = $1
