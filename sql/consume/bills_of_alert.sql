-- Purpose: whether the ledger has bills of a table that an alert is about, each by an index of the few that are so.
-- Inputs: $1 book, $2 source, $3 reference type, $4 why they are retained, or 'warning' for those that were posted with one.
-- Touches: ledger.sync_master_status, read only.
SELECT EXISTS (SELECT FROM ledger.sync_master_status
               WHERE book = $1 AND source = $2 AND reference_type = $3 AND state <> 'current' AND retained_because = $4)
    OR $4 = 'warning' AND EXISTS (SELECT FROM ledger.sync_master_status
                                  WHERE book = $1 AND source = $2 AND reference_type = $3 AND warning IS NOT NULL)
