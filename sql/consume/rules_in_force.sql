-- Purpose: which versions of each rule are in force in a book, by their numbers, which never come again. Inputs: $1 book. Touches: ledger.posting_rules, read only.
SELECT reference_type, string_agg(version::text, ' ' ORDER BY valid_from)
FROM ledger.posting_rules
WHERE book = $1 AND replaced_at IS NULL
GROUP BY reference_type
