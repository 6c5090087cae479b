-- Purpose: note the versions of the rule by which a table's bills are judged from now on, where none are noted; and where the ledger
--          knew bills of it before, have it reconciled: it was detached for a while, or comes from an older version.
-- Inputs: $1 reference type, $2 the versions, $3 whether the ledger knows bills. Touches: sync_source, sync_queue.
WITH noted AS (
    UPDATE daybook.sync_source SET rules = $2 WHERE reference_type = $1 AND rules IS NULL
    RETURNING source, reference_type
)
INSERT INTO daybook.sync_queue (source, reference_type, operation, origin)
SELECT source, reference_type, 'reconcile', 'repair'
FROM noted
WHERE $3
