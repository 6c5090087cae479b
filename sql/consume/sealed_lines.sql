-- Purpose: their lines, as they are hashed. Inputs: $1 ids of entries. Touches: journal_lines, read only.
SELECT l.entry_id, l.line_no, l.account_code, trim_scale(l.debit)::text, trim_scale(l.credit)::text, l.currency, l.is_settlement,
       l.site, l.department, l.party
FROM ledger.journal_lines AS l
WHERE l.entry_id = ANY ($1::bigint[])
ORDER BY l.entry_id, l.line_no
