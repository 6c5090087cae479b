-- Purpose: the posting rules in force, as data: the TOML text, and its SHA-256 in hexadecimal, by which each entry names
-- the rule that made it and consumers notice that a rule has changed.
CREATE TABLE ledger.posting_rules (
    book           text NOT NULL REFERENCES ledger.books,
    reference_type text NOT NULL,
    rule_hash      text NOT NULL CHECK (rule_hash = encode(sha256(convert_to(definition, 'UTF8')), 'hex')),
    definition     text NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by     text NOT NULL DEFAULT session_user,
    PRIMARY KEY (book, reference_type)
);
