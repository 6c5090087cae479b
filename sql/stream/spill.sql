-- Purpose: keep keys of a transaction outside of memory. Inputs: $1 the chunk; $2 relations and $4 operations of changed keys, null for what
-- triggers enqueued, of which $5 is the reference type; $3 the keys. Touches: a table of this session.
INSERT INTO pg_temp.daybook_spill (chunk, relation, reference_id, operation, reference_type)
SELECT $1::integer, n.relation, n.reference_id, n.operation, n.reference_type
FROM unnest($2::oid[], $3::text[], $4::text[], $5::text[]) AS n (relation, reference_id, operation, reference_type)
