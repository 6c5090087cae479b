-- Purpose: seal alone; no row where another process seals just now. Inputs: $1 book. Touches: row lock in ledger.chains.
SELECT passed_entry_id, noted_entry_id, noted_xid < pg_snapshot_xmin(pg_current_snapshot()) AS is_passable,
       noted_xid > pg_current_xact_id() AS is_of_another_cluster
FROM ledger.chains
WHERE book = $1
FOR UPDATE SKIP LOCKED
