-- Purpose: have a table reconciled whose rule has other versions in force than those by which its bills were judged last. The
--          intent and its event are one transaction, so that it is lost in no crash, and made once however many processes look.
-- Every change is captured meanwhile, so that it need not wait for older transactions, as a repair does.
-- Inputs: $1 reference types, $2 the versions in force, pairwise. Touches: sync_source, sync_queue.
WITH changed AS (
    UPDATE daybook.sync_source AS s SET rules = f.rules
    FROM unnest($1::text[], $2::text[]) AS f (reference_type, rules)
    WHERE s.reference_type = f.reference_type AND s.rules <> f.rules
    RETURNING s.source, s.reference_type
)
INSERT INTO daybook.sync_queue (source, reference_type, operation, origin)
SELECT source, reference_type, 'reconcile', 'backfill'
FROM changed
