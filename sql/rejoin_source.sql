-- Purpose: forget the meetings with the ledger, so that the next one is the first; let events be numbered above those that the
--          ledger has seen, so that none is taken for an old one; and have every table reconciled.
-- Dead letters are resolved and numbered below zero: what is still parked gets a new one, whatever a restored ledger counts.
-- Inputs: $1 the highest event number that the ledger has seen. Touches: sync_dead_letter, ledger_meeting, the sequence of sync_queue, sync_queue.
WITH highest AS (
    SELECT coalesce(max(greatest(spell, synchronisation)), 0) + 1 AS synchronisation FROM daybook.sync_dead_letter
), letters AS (
    UPDATE daybook.sync_dead_letter AS d
    SET spell = spell - h.synchronisation, synchronisation = d.synchronisation - h.synchronisation,
        resolved_at = coalesce(resolved_at, clock_timestamp()), resolution = coalesce(resolution, 'resolved'),
        resolved_by = coalesce(resolved_by, session_user), note = coalesce(note, 'the source rejoined its ledger, and was reconciled')
    FROM highest AS h
), met AS (
    UPDATE daybook.ledger_meeting SET token = NULL, proposed = NULL
), numbered AS MATERIALIZED (
    SELECT daybook.number_events_above($1) AS seq
), reconciled AS MATERIALIZED (
    SELECT daybook.reconcile(relation) FROM daybook.sync_source, numbered WHERE suspended_at IS NULL
)
SELECT count(*) FROM reconciled
