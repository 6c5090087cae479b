-- Purpose: how much is unfinished, counted up to 10,000, for whoever closes a period elsewhere; and the number of the last event.
-- Touches: sync_queue and its sequence, read only.
SELECT (SELECT count(*) FROM (SELECT FROM daybook.sync_queue LIMIT 10000) AS q) AS queued,
       ARRAY(SELECT reference_type || ' ' || coalesce(reference_id, '(the whole table)') FROM daybook.sync_queue LIMIT 20) AS examples,
       (SELECT last_value FROM daybook.sync_queue_seq_seq) AS highest_seq
