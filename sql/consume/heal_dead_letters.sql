-- Purpose: resolve the dead letters of bills that were parked once and are not now, or are resolved. Where a slower worker has not
--          written the dead letter yet, it is written here, resolved, so that it cannot be opened afterwards; nor can one that an
--          operator has closed already, whose number rises all the same.
-- One that retention has deleted since is not written again. Those of earlier spells are over, too, whoever died before saying so.
-- Inputs: $1 source, $2 reference type; $3 reference ids, $4 spells, $5 synchronisations, $6 reasons, $7 advices,
--         $8 event seqs, $9 parked at, $10 resolutions. Touches: sync_dead_letter.
WITH earlier AS (
    UPDATE daybook.sync_dead_letter AS d
    SET synchronisation = h.synchronisation, resolution = 'healed', resolved_at = clock_timestamp(), resolved_by = session_user, note = NULL
    FROM unnest($3::text[], $4::bigint[], $5::bigint[]) AS h (reference_id, spell, synchronisation)
    WHERE d.reference_type = $2 AND d.reference_id = h.reference_id AND d.spell < h.spell AND d.resolved_at IS NULL
)
INSERT INTO daybook.sync_dead_letter AS d
    (source, reference_type, reference_id, spell, synchronisation, reason, advice, event_seq, parked_at, resolution,
     resolved_at, resolved_by)
SELECT $1, $2, h.*, clock_timestamp(), session_user
FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::timestamptz[], $10::text[])
     AS h (reference_id, spell, synchronisation, reason, advice, event_seq, parked_at, resolution)
WHERE h.parked_at > clock_timestamp() - (SELECT config_value::integer FROM daybook.sync_configuration
                                         WHERE config_key = 'audit_log_retention_days') * interval '1 day'
   OR EXISTS (SELECT FROM daybook.sync_dead_letter AS d
              WHERE d.reference_type = $2 AND d.reference_id = h.reference_id AND d.spell = h.spell)
ON CONFLICT (reference_type, reference_id, spell) DO UPDATE
    SET synchronisation = excluded.synchronisation,
        resolution = coalesce(d.resolution, excluded.resolution),
        resolved_at = coalesce(d.resolved_at, excluded.resolved_at),
        resolved_by = CASE WHEN d.resolution IS NOT NULL OR excluded.resolution = 'resolved'
                           THEN coalesce(d.resolved_by, excluded.resolved_by) ELSE excluded.resolved_by END,
        note = CASE WHEN d.resolution IS NOT NULL OR excluded.resolution = 'resolved' THEN d.note END
    WHERE d.synchronisation < excluded.synchronisation
