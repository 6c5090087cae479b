-- Purpose: what of a table is on its way: its oldest event; whether one concerns the whole table, whose bills are told later; and how many are
--          of our own, whose age tells nothing of when their bills were changed.
-- Inputs: $1 reference type, $2 hours after which an event is late. Touches: sync_queue, read only.
SELECT min(enqueued_at) AS oldest, count(*) FILTER (WHERE reference_id IS NULL) AS of_the_table,
       count(*) FILTER (WHERE origin NOT IN ('trigger', 'wal')) AS of_ours,
       count(*) FILTER (WHERE enqueued_at < clock_timestamp() - $2::float8 * interval '1 hour') AS late
FROM daybook.sync_queue
WHERE reference_type = $1
