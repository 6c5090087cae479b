-- Purpose: write the state of synchronised bills, under their locks.
-- Inputs: $1 book, $2 source, $3 reference type; $4 ids, $5 states, $6 synchronisations, $7 revisions, $8 live entry ids as
--         array texts, $9 last entry ids, $10 last event seqs, $11 spells, $12 parked at, $13 reasons, $14 advices,
--         $15 causes of retention, $16 warnings, $17 digests of rows, $18 of rules, $19 fingerprints.
-- Touches: ledger.sync_master_status.
-- The LATERAL query finds each row by one probe of the primary key; its place cannot move, for its lock is ours.
UPDATE ledger.sync_master_status AS s
SET state = n.state, synchronisation = n.synchronisation, revision = n.revision,
    live_entry_ids = n.live_entry_ids::bigint[], last_entry_id = n.last_entry_id, last_event_seq = n.last_event_seq,
    parked_spell = n.parked_spell, parked_at = n.parked_at, reason = n.reason, advice = n.advice,
    retained_because = n.retained_because, warning = n.warning,
    row_digest = n.row_digest, rule_digest = n.rule_digest, fingerprint = n.fingerprint
FROM unnest($4::text[], $5::text[], $6::bigint[], $7::integer[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[],
            $12::timestamptz[], $13::text[], $14::text[], $15::text[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[])
     AS n (reference_id, state, synchronisation, revision, live_entry_ids, last_entry_id, last_event_seq, parked_spell,
           parked_at, reason, advice, retained_because, warning, row_digest, rule_digest, fingerprint)
CROSS JOIN LATERAL (
    SELECT ctid AS place
    FROM ledger.sync_master_status
    WHERE book = $1 AND source = $2 AND reference_type = $3 AND reference_id = n.reference_id
    LIMIT 1) AS p
WHERE s.ctid = p.place
