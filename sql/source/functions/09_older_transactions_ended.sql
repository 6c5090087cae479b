-- Purpose: whether every transaction and snapshot of this database that is older than the given transaction has ended,
--          prepared transactions included. A snapshot may belong to a transaction that has no id yet and will write later.
-- Inputs: a transaction id, of a transaction that has committed. Touches: no table.
-- Runs as daybook_owner, which may see the horizon of other users' sessions (pg_read_all_stats), and tells only yes or no.
CREATE OR REPLACE FUNCTION daybook.older_transactions_ended(reference xid8) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT NOT EXISTS (SELECT FROM pg_stat_activity
                       WHERE pid <> pg_backend_pid() AND datname = current_database()
                         AND backend_type NOT IN ('walsender', 'autovacuum worker')
                         AND (age(backend_xid) >= age(reference::xid) OR age(backend_xmin) >= age(reference::xid)))
       AND NOT EXISTS (SELECT FROM pg_prepared_xacts
                       WHERE database = current_database() AND age(transaction) >= age(reference::xid))
$$;
