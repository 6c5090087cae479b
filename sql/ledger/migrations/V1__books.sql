-- Purpose: books: legal entities, each with its currency and time zone. book leads every key of the ledger.
-- Posting holds a share lock on the book's row, so that whoever closes a period (FOR UPDATE) waits for what is in flight,
-- and what comes after it sees the closed period.
CREATE TABLE ledger.books (
    book       text PRIMARY KEY CHECK (book ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
    currency   text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    minor_unit smallint NOT NULL CHECK (minor_unit IN (0, 2, 3)), -- decimals of the currency, as in ISO 4217
    time_zone  text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- An unknown zone makes this expression fail.
    CONSTRAINT time_zone_exists CHECK (timezone(time_zone, timestamptz '2000-01-01 00:00:00+00') IS NOT NULL)
);
