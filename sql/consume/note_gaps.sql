-- Purpose: keep the changes that bypassed the triggers, found in the WAL and posted, as findings that are repaired already.
-- Inputs: $1 source, $2 reference type; $3 ids, $4 transactions, $5 entries, pairwise. Touches: reconciliation_findings.
INSERT INTO daybook.reconciliation_findings AS f
    (finding_key, kind, severity, found_by, source, reference_type, reference_id, entry_id, message, details, run_id, repaired_at, resolved_at,
     resolution)
SELECT format('capture_gap %s %s', $2::text, n.id), 'capture_gap', 'critical', 'capture', $1::text, $2::text, n.id, n.entry_id,
       format('%s %s: transaction %s changed it past the triggers; the stream found that, and it was posted', $2::text, n.id, n.xid),
       jsonb_build_object('transaction', n.xid), 0, clock_timestamp(), clock_timestamp(), 'repaired'
FROM unnest($3::text[], $4::text[], $5::bigint[]) AS n (id, xid, entry_id)
ON CONFLICT (finding_key) DO UPDATE
    SET last_seen_at = clock_timestamp(), times_seen = f.times_seen + 1, message = excluded.message, details = excluded.details,
        entry_id = excluded.entry_id, repaired_at = excluded.repaired_at, resolved_at = excluded.resolved_at, resolution = excluded.resolution
