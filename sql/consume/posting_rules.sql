-- Purpose: the versions of a rule that are in force, by their first day. Inputs: $1 book, $2 reference type.
-- Touches: ledger.posting_rules, read only.
SELECT version, definition, CASE WHEN isfinite(valid_from) THEN valid_from::text END AS valid_from
FROM ledger.posting_rules
WHERE book = $1 AND reference_type = $2 AND replaced_at IS NULL
ORDER BY posting_rules.valid_from
