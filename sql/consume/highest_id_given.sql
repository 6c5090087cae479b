-- Purpose: the highest id that was given to an entry, posted or not. To be asked before the sealing transaction has an id of its own.
-- Touches: the sequence, read only.
SELECT coalesce(pg_sequence_last_value('ledger.journal_entry_id'), 0)
