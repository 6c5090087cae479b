-- Purpose: how far the chain of a book is. Inputs: $1 book. Touches: ledger.chains, ledger.blocks, read only.
SELECT greatest((SELECT c.passed_entry_id FROM ledger.chains AS c WHERE c.book = $1),
                (SELECT b.passed_entry_id FROM ledger.blocks AS b WHERE b.book = $1 ORDER BY b.block_number DESC LIMIT 1), 0) AS mark,
       (SELECT coalesce(max(b.block_number), 0) FROM ledger.blocks AS b WHERE b.book = $1) AS last_block
