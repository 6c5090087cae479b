-- Purpose: the entries of a bill with their lines, oldest first. Inputs: $1 book, $2 source, $3 reference type, $4 reference id.
-- Touches: the journal, books and accounts, read only, by key. Amounts are texts with the currency's decimals.
SELECT e.id, e.book, e.source, e.reference_type, e.reference_id, e.revision, e.kind, e.effective_date, e.posting_date, e.late,
       e.reverses_id, e.rule_hash, e.event_seq, e.event_origin, e.event_xid::text AS event_xid, e.changed_at,
       e.session_user_name, e.application_name, e.posted_at, b.currency, coalesce(l.lines, '[]') AS lines
FROM ledger.journal_entries AS e
JOIN ledger.books AS b ON b.book = e.book
CROSS JOIN LATERAL (
    SELECT json_agg(json_build_object(
               'line_no', l.line_no, 'account_code', l.account_code, 'account_name', a.account_name,
               'account_type', a.account_type, 'debit', round(l.debit, b.minor_unit)::text,
               'credit', round(l.credit, b.minor_unit)::text, 'is_settlement', l.is_settlement, 'site', l.site,
               'department', l.department, 'party', l.party) ORDER BY l.line_no) AS lines
    FROM ledger.journal_lines AS l
    LEFT JOIN ledger.accounts AS a ON a.book = e.book AND a.account_code = l.account_code
    WHERE l.entry_id = e.id
) AS l
WHERE e.book = $1 AND e.source = $2 AND e.reference_type = $3 AND e.reference_id = $4
ORDER BY e.revision
