-- Purpose: forget the meetings with the ledger, so that the next one is the first; let events be numbered above those that the
--          ledger has seen, so that none is taken for an old one; and have every table reconciled.
-- Inputs: $1 the highest event number that the ledger has seen. Touches: ledger_meeting, the sequence of sync_queue, sync_queue.
WITH met AS (
    UPDATE daybook.ledger_meeting SET token = NULL, proposed = NULL
), numbered AS MATERIALIZED (
    SELECT setval(s, greatest($1::bigint + 1000, nextval(s)), true) AS seq
    FROM (SELECT pg_get_serial_sequence('daybook.sync_queue', 'seq')::regclass AS s) AS of_queue
), reconciled AS MATERIALIZED (
    SELECT daybook.reconcile(relation) FROM daybook.sync_source, numbered WHERE suspended_at IS NULL
)
SELECT count(*) FROM reconciled
