-- Purpose: how much is unfinished, counted up to 10,000, for whoever closes a period elsewhere. Touches: sync_queue, read only.
SELECT (SELECT count(*) FROM (SELECT FROM daybook.sync_queue LIMIT 10000) AS q) AS queued,
       ARRAY(SELECT reference_type || ' ' || coalesce(reference_id, '(the whole table)') FROM daybook.sync_queue LIMIT 20) AS examples
