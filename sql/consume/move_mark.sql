-- Purpose: move the mark of a chain; with an id in $3, note it, so that the mark can move there once the transactions of now have ended.
-- Inputs: $1 book, $2 mark, $3 highest id given before this transaction began, or null. Touches: ledger.chains.
UPDATE ledger.chains
SET passed_entry_id = $2, noted_entry_id = coalesce($3, noted_entry_id),
    noted_xid = CASE WHEN $3::bigint IS NULL THEN noted_xid ELSE pg_current_xact_id() END
WHERE book = $1
