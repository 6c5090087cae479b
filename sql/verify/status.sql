-- Purpose: bills of a page whose status is not what their entries say: revisions without gaps, live entries, the last entry.
-- Inputs: $1 book, $2 source, $3 reference type and $4 id that the page follows, $5 to $7 the same of its last bill, or nulls.
-- Touches: sync_master_status, journal_entries, read only, in one snapshot.
SELECT f.kind, f.entry_id, f.source, f.reference_type, f.reference_id, f.problem
FROM (SELECT 'status' AS kind, j.last_entry_id AS entry_id, s.source, s.reference_type, s.reference_id,
             CASE WHEN j.revision <> j.entries OR j.first_revision <> 1 THEN 'the entries of the bill are not numbered from 1 without gaps'
                  WHEN s.revision <> j.revision THEN 'the status of the bill counts ' || s.revision || ' entries, and the journal has ' || j.revision
                  WHEN ARRAY(SELECT unnest(s.live_entry_ids) ORDER BY 1) <> j.live
                      THEN 'the status of the bill names other live entries than the journal has'
                  WHEN s.last_entry_id IS DISTINCT FROM j.last_entry_id THEN 'the status of the bill names another last entry than the journal has'
             END AS problem
      FROM ledger.sync_master_status AS s
      CROSS JOIN LATERAL (
          SELECT count(DISTINCT e.id) AS entries, coalesce(max(e.revision), 0) AS revision, coalesce(min(e.revision), 1) AS first_revision,
                 (array_agg(e.id ORDER BY e.revision DESC))[1] AS last_entry_id,
                 coalesce(array_agg(e.id ORDER BY e.id) FILTER (WHERE e.kind <> 'reversal' AND r.id IS NULL), '{}') AS live
          FROM ledger.journal_entries AS e
          LEFT JOIN ledger.journal_entries AS r ON r.reverses_id = e.id
          WHERE e.book = s.book AND e.source = s.source AND e.reference_type = s.reference_type AND e.reference_id = s.reference_id) AS j
      WHERE s.book = $1 AND (s.source, s.reference_type, s.reference_id) > ($2, $3, $4)
        AND ($5::text IS NULL OR (s.source, s.reference_type, s.reference_id) <= ($5, $6::text, $7::text))) AS f
WHERE f.problem IS NOT NULL
ORDER BY f.source, f.reference_type, f.reference_id
