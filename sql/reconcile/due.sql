-- Purpose: which run is due, by the last that ended, whoever ran it: a full one once a day from an hour of the book's day on, else one by
--          digests each so many hours. One that failed is tried again after a minute. Whole runs only count.
-- Inputs: $1 the book's time zone. Touches: reconciliation_runs, sync_configuration, sync_source, read only.
WITH settings AS (
    SELECT max(config_value) FILTER (WHERE config_key = 'reconciliation_frequency_hours')::numeric * interval '1 hour' AS frequency,
           max(config_value) FILTER (WHERE config_key = 'full_reconciliation_hour')::integer * interval '1 hour' AS full_hour,
           timezone($1, clock_timestamp()) AS now
    FROM daybook.sync_configuration
), last AS (
    SELECT max(started_at) FILTER (WHERE outcome IN ('proven', 'findings', 'incomplete')) AS any_at,
           max(started_at) FILTER (WHERE outcome IN ('proven', 'findings', 'incomplete') AND is_full) AS full_at,
           max(ended_at) FILTER (WHERE outcome = 'failed') AS failed_at
    FROM daybook.reconciliation_runs
    WHERE scope IS NULL
)
SELECT CASE
           WHEN NOT EXISTS (SELECT FROM daybook.sync_source) OR l.failed_at > clock_timestamp() - interval '1 minute' THEN 'none'
           WHEN (s.now >= date_trunc('day', s.now) + s.full_hour
                 AND timezone($1, l.full_at) >= date_trunc('day', s.now) + s.full_hour IS NOT TRUE) THEN 'full'
           WHEN l.any_at > clock_timestamp() - s.frequency IS NOT TRUE THEN 'hourly'
           ELSE 'none'
       END
FROM settings AS s, last AS l
