-- Purpose: one row per captured table. Written by daybook.attach, detach, suspend, resume; read by the consumer.
-- key_types holds the types that the key columns had when the capture function was written: a key of another type is
-- never captured by guess, but marks the table dirty.
CREATE TABLE daybook.sync_source (
    relation       regclass PRIMARY KEY,
    relation_name  text NOT NULL,
    source         text NOT NULL,
    reference_type text NOT NULL UNIQUE CHECK (reference_type ~ '^[A-Z][A-Z0-9_]{0,39}$'),
    key_columns    text[] NOT NULL CHECK (cardinality(key_columns) > 0),
    key_types      regtype[] NOT NULL CHECK (cardinality(key_types) = cardinality(key_columns)),
    filter_columns text[] NOT NULL,
    capture_mode   text NOT NULL CHECK (capture_mode IN ('trigger')),
    suspended_at   timestamptz,
    attached_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    attached_by    text NOT NULL DEFAULT session_user
);
