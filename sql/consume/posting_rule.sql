-- Purpose: the rule in force. Inputs: $1 book, $2 reference type. Touches: ledger.posting_rules, read only.
SELECT rule_hash, definition FROM ledger.posting_rules WHERE book = $1 AND reference_type = $2
