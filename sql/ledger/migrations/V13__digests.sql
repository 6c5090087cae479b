-- Purpose: what each bill was last judged from, and what its entries amount to, as digests that reconciliation compares: never a value.
-- row_digest:  of its row's key and mapped columns, as the source computed it; null: it had no row, or one out of scope. Opaque here.
-- rule_digest: the first eight bytes of the SHA-256 of the version of the rule that judged it.
-- fingerprint: of the lines, date and dimensions that its live entries amount to; null: there are none. Of those from before this
--              column, too: the first full reconciliation fills them in.
ALTER TABLE ledger.sync_master_status
    ADD COLUMN row_digest bigint,
    ADD COLUMN rule_digest bigint,
    ADD COLUMN fingerprint bigint;
