-- Purpose: a sign of life; the processes that stopped a day ago are forgotten.
-- Inputs: $1 process, $2 version, $3 workers, $4 started at, $5 events finished since. Touches: sync_system_health.
WITH forgotten AS (
    DELETE FROM daybook.sync_system_health WHERE heartbeat_at < clock_timestamp() - interval '1 day' AND process <> $1
)
INSERT INTO daybook.sync_system_health (process, version, workers, started_at, heartbeat_at, finished_count)
VALUES ($1, $2, $3, $4, clock_timestamp(), $5)
ON CONFLICT (process) DO UPDATE SET version = excluded.version, workers = excluded.workers,
    started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at, finished_count = excluded.finished_count
