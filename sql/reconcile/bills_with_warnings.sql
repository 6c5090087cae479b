-- Purpose: bills that were posted with a stored tax that is not that of the rate. Inputs: $1 book, $2 source, $3 reference type, $4 first
--          days of the rule, $5 whether it is enabled then (not null), $6 most bills. Touches: sync_master_status, journal_entries, read only.
SELECT s.reference_id, s.warning, e.effective_date::text AS day
FROM ledger.sync_master_status AS s
JOIN ledger.journal_entries AS e ON e.id = s.live_entry_ids[1]
CROSS JOIN LATERAL (SELECT r.days FROM unnest($4::text[]::date[], $5::integer[]) AS r (first_day, days)
                    WHERE r.first_day <= e.effective_date ORDER BY r.first_day DESC LIMIT 1) AS r
WHERE s.book = $1 AND s.source = $2 AND s.reference_type = $3 AND s.warning IS NOT NULL AND r.days IS NOT NULL
ORDER BY s.reference_id
LIMIT $6
