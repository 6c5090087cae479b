-- Purpose: the end of a book's chain. Inputs: $1 book. Touches: ledger.blocks, read only.
SELECT block_number, first_entry_number + cardinality(entry_ids) - 1 AS last_entry_number, block_hash, passed_entry_id, sealed_at
FROM ledger.blocks
WHERE book = $1
ORDER BY block_number DESC
LIMIT 1
