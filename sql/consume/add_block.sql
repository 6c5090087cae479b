-- Purpose: add a block to its book's chain. Inputs: $1 book, $2 number, $3 number of its first entry, $4 ids, $5 their hashes, $6 mark,
--          $7 previous hash, $8 its hash, $9 version of the encoding, $10 sealed at. Touches: ledger.blocks.
INSERT INTO ledger.blocks
    (book, block_number, first_entry_number, entry_ids, entry_hashes, lowest_entry_id, highest_entry_id, passed_entry_id,
     previous_hash, block_hash, encoding, sealed_at)
VALUES ($1, $2, $3, $4::bigint[], $5, ($4::bigint[])[1], ($4::bigint[])[cardinality($4::bigint[])], $6, $7, $8, $9, $10)
