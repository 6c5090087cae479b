-- Purpose: the attached tables that have events due, none while posting is paused. A loose scan: one probe of the queue's
--          primary key per table. Touches: sync_source, sync_queue, sync_configuration, read only.
SELECT s.reference_type
FROM daybook.sync_source AS s
WHERE EXISTS (SELECT FROM daybook.sync_queue AS q
              WHERE q.reference_type = s.reference_type AND q.due_at <= statement_timestamp())
  AND NOT EXISTS (SELECT FROM daybook.sync_configuration WHERE config_key = 'posting' AND config_value = 'paused')
ORDER BY s.reference_type
