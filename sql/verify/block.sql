-- Purpose: the next block of a chain. Inputs: $1 book, $2 after which number, $3 up to which. Touches: ledger.blocks, read only.
SELECT block_number, first_entry_number, passed_entry_id, sealed_at, previous_hash, entry_ids, entry_hashes, block_hash, encoding
FROM ledger.blocks
WHERE book = $1 AND block_number > $2 AND block_number <= $3
ORDER BY block_number
LIMIT 1
