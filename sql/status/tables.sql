-- Purpose: each captured table with its queue and parked bills. Touches: sync_source, sync_queue, sync_dead_letter.
SELECT s.reference_type, s.relation_name AS relation,
       CASE WHEN s.suspended_at IS NULL THEN s.capture_mode ELSE 'suspended' END AS capture,
       q.queued, extract(epoch FROM clock_timestamp() - q.oldest)::bigint AS oldest_seconds, d.parked, s.go_live
FROM daybook.sync_source AS s
CROSS JOIN LATERAL (SELECT count(*) AS queued, min(enqueued_at) AS oldest FROM daybook.sync_queue AS q
                    WHERE q.reference_type = s.reference_type) AS q
CROSS JOIN LATERAL (SELECT count(*) AS parked FROM daybook.sync_dead_letter AS d
                    WHERE d.reference_type = s.reference_type AND d.resolved_at IS NULL) AS d
ORDER BY s.reference_type
