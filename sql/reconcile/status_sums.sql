-- Purpose: whether the status of a table's bills names those entries that are there and not reversed, and as many as there are: sums in
--          one statement, and so under one snapshot, in which both sides agree whatever is being posted.
--          Each live entry counts with a hash of its bill and id, once from the journal and once from the status.
-- Inputs: $1 book, $2 source, $3 reference type. Touches: journal_entries and sync_master_status, read only; all of the table's.
SELECT j.entries = s.entries AND j.live = s.live AS agree
FROM (SELECT count(*)::numeric AS entries,
             coalesce(sum(hashtextextended(reference_id COLLATE "C", id)) FILTER (WHERE kind <> 'reversal'), 0)
             - coalesce(sum(hashtextextended(reference_id COLLATE "C", reverses_id)) FILTER (WHERE kind = 'reversal'), 0) AS live
      FROM ledger.journal_entries
      WHERE book = $1 AND source = $2 AND reference_type = $3) AS j,
     (SELECT coalesce(sum(revision), 0)::numeric AS entries,
             coalesce(sum(hashtextextended(reference_id COLLATE "C", live_entry_ids[1])) FILTER (WHERE cardinality(live_entry_ids) = 1), 0)
             + coalesce(sum((SELECT sum(hashtextextended(reference_id COLLATE "C", l.id)) FROM unnest(live_entry_ids) AS l (id)))
                        FILTER (WHERE cardinality(live_entry_ids) > 1), 0) AS live
      FROM ledger.sync_master_status
      WHERE book = $1 AND source = $2 AND reference_type = $3) AS s
