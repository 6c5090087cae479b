-- Purpose: posting rules have versions. One is valid from its day until the day of the next; a bill is judged by the version
-- that is valid on its effective date. Two versions of one day cannot be in force, so that validities never overlap. What was
-- replaced stays, so that the rule of every entry can be read as long as the ledger lives.
ALTER TABLE ledger.posting_rules
    DROP CONSTRAINT posting_rules_pkey,
    ADD COLUMN version integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    ADD COLUMN valid_from date NOT NULL DEFAULT '-infinity' 
        CHECK (valid_from = '-infinity' OR valid_from BETWEEN '0001-01-01' AND '9999-12-31'),
    ADD COLUMN replaced_at timestamptz,
    ADD COLUMN replaced_by text,
    ADD PRIMARY KEY (book, reference_type, version);
CREATE UNIQUE INDEX posting_rules_in_force_key ON ledger.posting_rules (book, reference_type, valid_from)
    WHERE replaced_at IS NULL;
