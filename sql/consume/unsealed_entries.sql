-- Purpose: entries that are in no block yet, by id. Inputs: $1 book, $2 after which id, $3 how many entries of the journal are looked
--          at, $4 how many are found, each at most. Touches: the journal and its blocks, read only.
-- Returns also up to where it looked (null: to the end), and the mark's condition in the very snapshot that it looked in.
WITH looked AS MATERIALIZED (
    SELECT e.id, e.book FROM ledger.journal_entries AS e WHERE e.id > $2 ORDER BY e.id LIMIT $3
),
bounds AS MATERIALIZED (
    SELECT coalesce(max(id), 0) AS highest, count(*) AS looked_at FROM looked
)
SELECT ARRAY(SELECT u.id
             FROM (SELECT l.id FROM looked AS l WHERE l.book = $1
                   EXCEPT
                   SELECT unnest(b.entry_ids)
                   FROM ledger.blocks AS b
                   WHERE b.book = $1 AND b.highest_entry_id > $2 AND b.lowest_entry_id <= (SELECT highest FROM bounds)) AS u
             ORDER BY u.id LIMIT $4) AS ids,
       CASE WHEN looked_at = $3 THEN highest END AS looked_to,
       (SELECT noted_xid < pg_snapshot_xmin(pg_current_snapshot()) FROM ledger.chains WHERE book = $1) AS is_passable,
       clock_timestamp() AS now
FROM bounds
