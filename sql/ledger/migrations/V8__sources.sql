-- Purpose: the sources that write to each book, and where each lives: the cluster's identifier, the database's OID and the
-- timeline tell a database from its clones and restored copies. token is that of the last meeting; the source keeps the same.
-- What a source last reported of its queue, for whoever closes a period.
CREATE TABLE ledger.sources (
    book              text NOT NULL, -- no foreign key: a meeting does not wait for whoever closes the book
    source            text NOT NULL CHECK (source ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    database_name     text,
    system_identifier bigint,
    database_oid      oid,
    timeline          text,
    token             uuid,
    registered_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    met_at            timestamptz,
    rejoined_at       timestamptz,
    rejoined_by       text,
    rejoined_because  text,
    highest_seq       bigint NOT NULL DEFAULT 0, -- the number of its last event; it never goes back but by a restoration
    reported_at       timestamptz,
    queued            bigint NOT NULL DEFAULT 0,
    queued_examples   text[] NOT NULL DEFAULT '{}', -- reference type and id of some
    PRIMARY KEY (book, source)
);
-- Those from before this table: whoever comes first under the name is taken for it.
INSERT INTO ledger.sources (book, source)
SELECT DISTINCT book, source FROM ledger.sync_master_status WHERE book IN (SELECT book FROM ledger.books);
