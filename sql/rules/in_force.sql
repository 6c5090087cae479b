-- Purpose: the versions of a book's rules that are in force. Inputs: $1 book. Touches: ledger.posting_rules, read only.
SELECT reference_type, version, CASE WHEN isfinite(valid_from) THEN valid_from::text ELSE 'the beginning' END, rule_hash, applied_by,
       definition
FROM ledger.posting_rules
WHERE book = $1 AND replaced_at IS NULL
ORDER BY reference_type, posting_rules.valid_from
