-- Purpose: the bills whose status names other live entries than there are, or another number of entries; how many originals and
--          corrections of theirs are live, and the first entry that is too many or missing.
-- Inputs: $1 book, $2 source, $3 reference type, $4 most bills. Touches: journal_entries and sync_master_status, read only.
WITH entries AS (
    SELECT e.reference_id, count(*) AS revision, max(e.revision) AS last_revision,
           coalesce(array_agg(e.id ORDER BY e.id) FILTER (WHERE e.kind <> 'reversal' AND r.id IS NULL), '{}') AS live,
           count(*) FILTER (WHERE e.kind IN ('original', 'correction') AND r.id IS NULL) AS bases
    FROM ledger.journal_entries AS e
    LEFT JOIN ledger.journal_entries AS r ON r.reverses_id = e.id
    WHERE e.book = $1 AND e.source = $2 AND e.reference_type = $3
    GROUP BY e.reference_id
), status AS (
    SELECT reference_id, revision, ARRAY(SELECT l.id FROM unnest(live_entry_ids) AS l (id) ORDER BY l.id) AS live
    FROM ledger.sync_master_status
    WHERE book = $1 AND source = $2 AND reference_type = $3 AND revision > 0
)
SELECT reference_id, coalesce(e.bases, 0) AS bases, coalesce(e.live, '{}') <> coalesce(s.live, '{}') AS lives_differ,
       coalesce(e.live, '{}') <> coalesce(s.live, '{}') OR coalesce(e.last_revision, 0) <> coalesce(s.revision, 0) AS to_be_restored,
       (SELECT min(i.id) FROM (
            (SELECT unnest(e.live) EXCEPT SELECT unnest(s.live)) UNION ALL (SELECT unnest(s.live) EXCEPT SELECT unnest(e.live))
        ) AS i (id)) AS entry_id
FROM entries AS e
FULL JOIN status AS s USING (reference_id)
WHERE e.live IS DISTINCT FROM s.live OR e.revision IS DISTINCT FROM s.revision
ORDER BY reference_id
LIMIT $4
