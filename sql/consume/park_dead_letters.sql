-- Purpose: open or refresh the dead letters of parked bills; only a higher synchronisation number may speak. The note of whoever
--          resolved it stays, in case the word that it was resolved is still on its way. The letters of earlier spells are over:
--          whoever healed the bill in between may have died before it could say so, or be slow.
-- Inputs: $1 source, $2 reference type; $3 reference ids, $4 spells, $5 synchronisations, $6 reasons, $7 advices,
--         $8 event seqs, $9 parked at. Touches: sync_dead_letter.
WITH earlier AS (
    UPDATE daybook.sync_dead_letter AS d
    SET synchronisation = p.synchronisation, resolution = 'healed', resolved_at = clock_timestamp(), resolved_by = session_user, note = NULL
    FROM unnest($3::text[], $4::bigint[], $5::bigint[]) AS p (reference_id, spell, synchronisation)
    WHERE d.reference_type = $2 AND d.reference_id = p.reference_id AND d.spell < p.spell AND d.resolved_at IS NULL
)
INSERT INTO daybook.sync_dead_letter AS d
    (source, reference_type, reference_id, spell, synchronisation, reason, advice, event_seq, parked_at)
SELECT $1, $2, p.*
FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::timestamptz[])
     AS p (reference_id, spell, synchronisation, reason, advice, event_seq, parked_at)
WHERE NOT EXISTS (SELECT FROM daybook.sync_dead_letter AS d
                  WHERE d.reference_type = $2 AND d.reference_id = p.reference_id AND d.spell > p.spell)
ON CONFLICT (reference_type, reference_id, spell) DO UPDATE
    SET synchronisation = excluded.synchronisation, reason = excluded.reason, advice = excluded.advice,
        event_seq = excluded.event_seq, resolved_at = NULL, resolution = NULL
    WHERE d.synchronisation < excluded.synchronisation
