-- Purpose: spans of days of a book with their state. A day that no row covers is open. Nothing is posted into a soft or
-- hard closed period: its entries move to the first open day and are marked late.
CREATE TABLE ledger.periods (
    book      text NOT NULL REFERENCES ledger.books,
    first_day date NOT NULL CHECK (isfinite(first_day)),
    last_day  date NOT NULL CHECK (isfinite(last_day)),
    state     text NOT NULL CHECK (state IN ('open', 'soft', 'hard')),
    PRIMARY KEY (book, first_day),
    CHECK (first_day <= last_day)
);
