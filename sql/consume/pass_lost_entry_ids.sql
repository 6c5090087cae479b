-- Purpose: pass over the ids of entries that a promoted ledger may have lost. Inputs: $1 how many, at most. Touches: the sequence; the
--          journal's last entry, read only.
SELECT ledger.pass_entry_ids((SELECT coalesce(max(id), 0) FROM ledger.journal_entries) + $1::bigint)
