-- Purpose: entries are sealed into a chain of blocks, one chain a book, so that whoever changes, deletes, inserts or reorders
-- entries with rights that no guard stops is found. An entry's number is its position in the chain: from 1, without gaps, whatever
-- ids were passed over. A block's hash covers the hash of the block before it.
CREATE TABLE ledger.blocks (
    book               text NOT NULL,
    block_number       bigint NOT NULL CHECK (block_number >= 1),
    first_entry_number bigint NOT NULL CHECK (first_entry_number >= 1),
    entry_ids          bigint[] NOT NULL,
    entry_hashes       bytea NOT NULL, -- SHA-256 of each, one after the other
    lowest_entry_id    bigint NOT NULL,
    highest_entry_id   bigint NOT NULL,
    passed_entry_id    bigint NOT NULL CHECK (passed_entry_id >= 0), -- no later block has an entry with an id up to this one
    previous_hash      bytea NOT NULL CHECK (octet_length(previous_hash) = 32), -- zeros before the first
    block_hash         bytea NOT NULL CHECK (octet_length(block_hash) = 32),
    encoding           smallint NOT NULL CHECK (encoding >= 1), -- version of what is hashed
    sealed_at          timestamptz NOT NULL CHECK (isfinite(sealed_at)),
    PRIMARY KEY (book, block_number),
    UNIQUE (book, previous_hash),
    CONSTRAINT holds_1_to_1000_entries CHECK (array_ndims(entry_ids) = 1 AND array_lower(entry_ids, 1) = 1
        AND cardinality(entry_ids) BETWEEN 1 AND 1000 AND array_position(entry_ids, NULL) IS NULL),
    CONSTRAINT has_a_hash_for_each_entry CHECK (octet_length(entry_hashes) = 32 * cardinality(entry_ids)),
    CONSTRAINT ids_are_within_their_bounds CHECK (lowest_entry_id = entry_ids[1] AND highest_entry_id = entry_ids[cardinality(entry_ids)])
);
ALTER TABLE ledger.blocks ALTER COLUMN entry_hashes SET STORAGE EXTERNAL; -- hashes cannot be compressed
-- Which blocks can hold an id.
CREATE INDEX blocks_entry_ids_idx ON ledger.blocks (book, highest_entry_id, lowest_entry_id);

-- How far each chain is. Ids do not commit in order: passed_entry_id is the mark below which none is to come any more. It moves up to
-- noted_entry_id, the highest id given when it was noted, once every transaction that was there up to noted_xid has ended.
CREATE TABLE ledger.chains (
    book            text PRIMARY KEY, -- no foreign key: sealing does not wait for whoever closes the book
    passed_entry_id bigint NOT NULL DEFAULT 0 CHECK (passed_entry_id >= 0),
    noted_entry_id  bigint,
    noted_xid       xid8,
    CHECK ((noted_entry_id IS NULL) = (noted_xid IS NULL))
);
