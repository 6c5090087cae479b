-- Purpose: begin a run. One by schedule is begun only where none is under way; one that was silent for two minutes was interrupted.
-- Inputs: $1 source, $2 whether it is full, $3 by schedule, $4 scope, $5 process. No row where another is under way.
-- Touches: reconciliation_runs.
WITH silent AS (
    UPDATE daybook.reconciliation_runs SET ended_at = clock_timestamp(), outcome = 'interrupted'
    WHERE ended_at IS NULL AND heartbeat_at < clock_timestamp() - interval '2 minutes'
)
INSERT INTO daybook.reconciliation_runs (source, is_full, is_scheduled, scope, process)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (source) WHERE ended_at IS NULL AND is_scheduled DO NOTHING
RETURNING run_id, started_at
