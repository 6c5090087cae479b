-- Purpose: the entries of a book with their lines, by posting date and id. Read through a portal, page by page.
-- Inputs: $1 book, $2 first and $3 last posting date, or null. Touches: the journal, books and accounts, read only.
-- Headers are sorted before their lines are looked up, so the first page comes without the whole journal's lines.
-- Amounts are texts with the currency's decimals.
SELECT e.id, e.book, e.source, e.reference_type, e.reference_id, e.revision, e.kind, e.effective_date, e.posting_date, e.late,
       e.reverses_id, e.rule_hash, e.event_seq, e.event_origin, e.event_xid::text AS event_xid, e.changed_at,
       e.session_user_name, e.application_name, e.posted_at, e.currency, coalesce(l.lines, '[]') AS lines
FROM (
    SELECT e.*, b.currency, b.minor_unit
    FROM ledger.journal_entries AS e
    JOIN ledger.books AS b ON b.book = e.book
    WHERE e.book = $1 AND ($2::date IS NULL OR e.posting_date >= $2) AND ($3::date IS NULL OR e.posting_date <= $3)
    ORDER BY e.posting_date, e.id
    OFFSET 0
) AS e
CROSS JOIN LATERAL (
    SELECT json_agg(json_build_object(
               'line_no', l.line_no, 'account_code', l.account_code, 'account_name', a.account_name,
               'account_type', a.account_type, 'debit', round(l.debit, e.minor_unit)::text,
               'credit', round(l.credit, e.minor_unit)::text, 'is_settlement', l.is_settlement, 'site', l.site,
               'department', l.department, 'party', l.party) ORDER BY l.line_no) AS lines
    FROM ledger.journal_lines AS l
    LEFT JOIN ledger.accounts AS a ON a.book = e.book AND a.account_code = l.account_code
    WHERE l.entry_id = e.id
) AS l
ORDER BY e.posting_date, e.id
