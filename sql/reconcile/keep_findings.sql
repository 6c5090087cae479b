-- Purpose: keep what was found. What was found before is seen once more; what was gone comes back, and says so. What a person has
--          resolved stays so, as long as it is the same.
-- Inputs: $1 run, $2 source; $3 keys, $4 kinds, $5 severities, $6 the looks, $7 reference types, $8 ids, $9 sites, $10 days, $11 entries,
--         $12 messages, $13 details as texts, pairwise. Touches: reconciliation_findings.
INSERT INTO daybook.reconciliation_findings AS f
    (run_id, source, finding_key, kind, severity, found_by, reference_type, reference_id, site, day, entry_id, message, details)
SELECT $1, $2, n.finding_key, n.kind, n.severity, n.found_by, n.reference_type, n.reference_id, n.site, n.day::date, n.entry_id, n.message,
       n.details::jsonb
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::text[],
            $13::text[])
     AS n (finding_key, kind, severity, found_by, reference_type, reference_id, site, day, entry_id, message, details)
ON CONFLICT (finding_key) DO UPDATE
    SET run_id = greatest(f.run_id, excluded.run_id), last_seen_at = clock_timestamp(), times_seen = f.times_seen + 1, severity = excluded.severity,
        message = excluded.message, details = excluded.details, entry_id = excluded.entry_id, site = excluded.site, day = excluded.day,
        times_returned = f.times_returned + (f.resolved_at IS NOT NULL AND NOT (f.resolution = 'resolved' AND f.message = excluded.message
                                                                               AND f.details = excluded.details))::integer,
        resolved_at = CASE WHEN f.resolution = 'resolved' AND f.message = excluded.message AND f.details = excluded.details
                           THEN f.resolved_at END,
        resolution = CASE WHEN f.resolution = 'resolved' AND f.message = excluded.message AND f.details = excluded.details
                          THEN f.resolution END
RETURNING finding_key, times_seen, times_returned, resolved_at IS NOT NULL AS is_resolved
