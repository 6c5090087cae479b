-- Purpose: entries as they are hashed, by id; amounts without trailing zeros. Inputs: $1 ids. Touches: journal_entries, read only.
SELECT e.id, e.book, e.source, e.reference_type, e.reference_id, e.revision, e.kind, e.effective_date, e.posting_date, e.late,
       e.reverses_id, e.line_count, trim_scale(e.total)::text, e.rule_hash, e.event_seq, e.event_origin, e.event_xid::text, e.changed_at,
       e.session_user_name, e.application_name, e.posted_at
FROM ledger.journal_entries AS e
WHERE e.id = ANY ($1::bigint[])
ORDER BY e.id
