-- Purpose: a table's bills in the ledger, by buckets of the lowest bits of their rows' digests: how many bills, the sum of the digests that
--          they were last judged from, and of what the bills amount to that are in order, each fingerprint mixed with its digest. Those that
--          were judged from no row lie in the bucket null.
--          Beside each, the same for all: whether status and journal agree, so that the status names those entries that are there and not
--          reversed, and as many as there are. Each live entry counts with a hash of its bill and id, once from the journal and once from
--          the status. In one statement, and so under one snapshot, in which they agree whatever is being posted.
--          And whether there are bills in order that digests do not prove, as odd_bills.sql has them.
-- Inputs: $1 book, $2 source, $3 reference type, $4 number of buckets less one, a power of two less one; $5 digests of the versions of
--         the rule in force.
-- Touches: journal_entries and sync_master_status, read only; all of the table's.
WITH journal AS (
    SELECT count(*)::numeric AS entries,
           coalesce(sum(hashtextextended(reference_id COLLATE "C", id)) FILTER (WHERE kind <> 'reversal'), 0)
           - coalesce(sum(hashtextextended(reference_id COLLATE "C", reverses_id)) FILTER (WHERE kind = 'reversal'), 0) AS live
    FROM ledger.journal_entries
    WHERE reference_type = $3 AND book = $1 AND source = $2 -- what differs most is compared first: the other tables' are passed over
), status AS (
    SELECT bucket, count(row_digest) AS bills, coalesce(sum(row_digest), 0) AS digests,
           coalesce(sum(fingerprint # row_digest) FILTER (WHERE state = 'current'), 0) AS amounts,
           coalesce(bool_or(rule_digest <> ALL ($5::bigint[]) OR (row_digest IS NULL OR fingerprint IS NULL) AND live_entry_ids <> '{}')
                    FILTER (WHERE state = 'current'), false) AS odd,
           sum(revision) AS entries,
           coalesce(sum(hashtextextended(reference_id COLLATE "C", live_entry_ids[1])) FILTER (WHERE cardinality(live_entry_ids) = 1), 0)
           + coalesce(sum((SELECT sum(hashtextextended(reference_id COLLATE "C", l.id)) FROM unnest(live_entry_ids) AS l (id)))
                      FILTER (WHERE cardinality(live_entry_ids) > 1), 0) AS live
    FROM (SELECT reference_id, state, row_digest, fingerprint, rule_digest, revision, live_entry_ids, row_digest & $4 AS bucket
          FROM ledger.sync_master_status
          WHERE reference_type = $3 AND book = $1 AND source = $2
          OFFSET 0) AS s -- else planned as if there were as many buckets as digests, and sorted
    GROUP BY bucket
)
SELECT s.bucket, s.bills, s.digests::text AS digests, s.amounts::text AS amounts,
       j.entries = coalesce(sum(s.entries) OVER (), 0) AND j.live = coalesce(sum(s.live) OVER (), 0) AS agree,
       coalesce(bool_or(s.odd) OVER (), false) AS odd
FROM journal AS j
LEFT JOIN status AS s ON true
