-- Purpose: note the meeting and where the source lives. Inputs: $1 book, $2 source, $3 token, $4 cluster's identifier,
--          $5 database's OID, $6 timeline, $7 its name. Touches: ledger.sources.
UPDATE ledger.sources
SET token = $3::text::uuid, system_identifier = $4, database_oid = $5, timeline = $6, database_name = $7, met_at = clock_timestamp()
WHERE book = $1 AND source = $2
