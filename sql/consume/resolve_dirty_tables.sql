-- Purpose: resolve the alerts of a dirty table, and of changes that the stream has missed, once no event of the reconciliation is left.
-- Touches: sync_alerts.
UPDATE daybook.sync_alerts AS a
SET state = 'resolved', resolved_at = clock_timestamp()
WHERE a.state <> 'resolved'
  AND CASE a.alert_type
      WHEN 'TABLE_DIRTY' THEN NOT EXISTS (SELECT FROM daybook.sync_queue AS q WHERE q.reference_type = a.cause AND q.origin = 'repair')
      -- The stream goes on again, with the events of the reconciliation enqueued.
      WHEN 'SLOT_LOST' THEN EXISTS (SELECT FROM daybook.wal_progress AS p
                                    JOIN pg_replication_slots AS s ON s.slot_name = p.slot_name AND s.wal_status <> 'lost'
                                    WHERE p.moved_at >= a.last_seen_at)
                            AND NOT EXISTS (SELECT FROM daybook.sync_queue AS q JOIN daybook.sync_source AS t ON t.reference_type = q.reference_type
                                            WHERE t.capture_mode <> 'trigger' AND q.origin = 'repair')
      ELSE false END
