-- Purpose: how long it took from a change to the entry that it caused, in milliseconds: median, 99th percentile.
-- Touches: the journal, read only.
SELECT coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM posted_at - changed_at)), 0)::float8 * 1000,
       coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM posted_at - changed_at)), 0)::float8 * 1000
FROM ledger.journal_entries
