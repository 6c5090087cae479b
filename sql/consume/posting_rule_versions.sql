-- Purpose: which versions of a rule are in force, compared after the locks with those at hand. Inputs: $1 book, $2 reference
--          type. Touches: ledger.posting_rules, read only.
SELECT coalesce(string_agg(version::text, ' ' ORDER BY valid_from), '')
FROM ledger.posting_rules
WHERE book = $1 AND reference_type = $2 AND replaced_at IS NULL
