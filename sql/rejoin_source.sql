-- Purpose: forget the meetings with the ledger, so that the next one is the first; begin numbers anew; and have every table reconciled.
-- Inputs: $1 the highest event number that the ledger has seen. Touches: ledger_meeting, sync_dead_letter, the sequence of sync_queue,
--         sync_queue.
WITH met AS (
    UPDATE daybook.ledger_meeting
    SET token = NULL, proposed = NULL, ledger_system_identifier = NULL, ledger_database_oid = NULL, ledger_timeline = NULL
), numbered AS MATERIALIZED (
    SELECT daybook.begin_numbers_anew($1)
), reconciled AS MATERIALIZED (
    SELECT daybook.reconcile(relation) FROM daybook.sync_source, (SELECT count(*) FROM numbered) AS n (times)
    WHERE suspended_at IS NULL AND times = 1
)
SELECT count(*) FROM reconciled
