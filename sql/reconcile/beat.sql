-- Purpose: a sign of life of a run. Inputs: $1 its id. Touches: reconciliation_runs.
UPDATE daybook.reconciliation_runs SET heartbeat_at = clock_timestamp() WHERE run_id = $1
