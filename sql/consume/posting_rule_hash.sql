-- Purpose: which rule is in force, compared after the lock with the one at hand. Inputs: $1 book, $2 reference type.
SELECT rule_hash FROM ledger.posting_rules WHERE book = $1 AND reference_type = $2
