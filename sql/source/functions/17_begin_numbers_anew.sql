-- Purpose: begin numbers anew after a promotion or a restoration took those of one side back, before every table is reconciled.
--          Events are numbered above those that the ledger has seen, so that none is taken for an old one. Dead letters are closed, and
--          numbered below all that are there: what is still parked gets a new one, whatever the ledger counts now.
-- Inputs: the highest event number that the ledger has seen. Touches: the sequence of sync_queue, sync_dead_letter.
CREATE OR REPLACE FUNCTION daybook.begin_numbers_anew(seen bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT setval(s, greatest(seen + 1000, nextval(s)), true)
    FROM (SELECT pg_get_serial_sequence('daybook.sync_queue', 'seq')::regclass AS s) AS of_queue;

    UPDATE daybook.sync_dead_letter AS d
    SET spell = d.spell - n.span, synchronisation = d.synchronisation - n.span,
        resolved_at = coalesce(resolved_at, clock_timestamp()), resolution = coalesce(resolution, 'resolved'),
        resolved_by = coalesce(resolved_by, session_user),
        note = coalesce(note, 'source and ledger were joined anew, and the table was reconciled')
    FROM (SELECT max(greatest(spell, synchronisation)) - min(least(spell, synchronisation)) + 1 AS span
          FROM daybook.sync_dead_letter) AS n
$$;
