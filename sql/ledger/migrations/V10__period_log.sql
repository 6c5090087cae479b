-- Purpose: who closed and reopened which days of a book, when and why. Never changed, never deleted.
CREATE TABLE ledger.period_log (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    book      text NOT NULL REFERENCES ledger.books,
    first_day date NOT NULL,
    last_day  date NOT NULL,
    state     text NOT NULL CHECK (state IN ('open', 'soft', 'hard')), -- that it was brought to
    reason    text,
    forced    boolean NOT NULL, -- although bills were queued or parked
    logged_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    logged_by text NOT NULL DEFAULT session_user,
    CHECK (NOT forced OR reason IS NOT NULL)
);

ALTER TABLE ledger.periods ADD CONSTRAINT days_of_four_digit_years CHECK (first_day >= '0001-01-01' AND last_day < '9999-12-31');
-- Counts what closes and reopens: who posts from an older snapshot fails on the changed row instead of missing it.
ALTER TABLE ledger.books ADD COLUMN closings bigint NOT NULL DEFAULT 0;
