-- Purpose: closing the day's cash of a site: what was in the drawer in the morning, what a person counted, what the journal expected and
-- how the two differed when the day was closed, and why it was reopened. Each step is a row that is never changed and never deleted; the
-- state of a day follows from its steps (view cash_closures). A day that was reopened is opened anew as its next spell.
-- And what an account is to a cashier and to whoever collects what is owed, as data of the chart.

ALTER TABLE ledger.accounts
    ADD COLUMN account_role text CHECK (account_role IN ('receivable', 'over_short')),
    -- By this name a cashier counts it at the end of the day; null: it is not counted.
    ADD COLUMN counted_as text CHECK (counted_as ~ '^[a-z][a-z0-9_-]{0,30}$'),
    ADD CONSTRAINT what_is_owed_or_counted_is_an_asset
        CHECK (account_type = 'asset' OR (account_role IS DISTINCT FROM 'receivable' AND counted_as IS NULL)),
    ADD CONSTRAINT cash_over_and_short_is_income_or_expense
        CHECK (account_role IS DISTINCT FROM 'over_short' OR account_type IN ('income', 'expense')),
    ADD CONSTRAINT what_is_owed_is_not_counted CHECK (account_role IS NULL OR counted_as IS NULL);
CREATE UNIQUE INDEX accounts_counted_as_key ON ledger.accounts (book, counted_as) WHERE counted_as IS NOT NULL;
CREATE UNIQUE INDEX accounts_over_short_key ON ledger.accounts (book) WHERE account_role = 'over_short';
-- Charts from before: only where the account is the one that was built in. What a bank took by transfer stands on its statement, and is
-- counted by nobody.
UPDATE ledger.accounts AS a SET account_role = b.account_role, counted_as = b.counted_as
FROM (VALUES ('1000', 'Cash', NULL, 'cash'), ('1020', 'Card clearing', NULL, 'card'), ('1030', 'Mobile payment clearing', NULL, 'upi'),
             ('1100', 'Accounts receivable', 'receivable', NULL)) AS b (account_code, account_name, account_role, counted_as)
WHERE a.account_code = b.account_code AND a.account_name = b.account_name AND a.account_type = 'asset';

CREATE TABLE ledger.cash_days (
    book           text NOT NULL REFERENCES ledger.books,
    site           text NOT NULL CHECK (site <> '' AND length(site) <= 200),
    day            date NOT NULL CHECK (day BETWEEN '0001-01-01' AND '9999-12-30'),
    spell          integer NOT NULL CHECK (spell >= 1), -- counts how often the day was opened
    opening_float  numeric NOT NULL CHECK (opening_float >= 0 AND opening_float < 1e18),
    drawer_account text, -- whose money lies in the drawer, with the float
    opened_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    opened_by      text NOT NULL DEFAULT session_user,
    PRIMARY KEY (book, site, day, spell),
    CONSTRAINT a_float_lies_in_a_drawer CHECK (opening_float = 0 OR drawer_account IS NOT NULL)
);

-- Of an account the last count counts; the earlier ones stay.
CREATE TABLE ledger.cash_counts (
    book         text NOT NULL,
    site         text NOT NULL,
    day          date NOT NULL,
    spell        integer NOT NULL,
    count_no     integer NOT NULL CHECK (count_no >= 1),
    account_code text NOT NULL,
    counted      numeric NOT NULL CHECK (counted > -1e18 AND counted < 1e18), -- with the float, where it lies there
    note         text,
    counted_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    counted_by   text NOT NULL DEFAULT session_user,
    PRIMARY KEY (book, site, day, spell, count_no, account_code),
    FOREIGN KEY (book, site, day, spell) REFERENCES ledger.cash_days
);

-- As it was when the day was closed. Written before the closing itself, which seals it.
CREATE TABLE ledger.cash_closing_accounts (
    book          text NOT NULL,
    site          text NOT NULL,
    day           date NOT NULL,
    spell         integer NOT NULL,
    account_code  text NOT NULL,
    expected      numeric NOT NULL CHECK (expected > -1e18 AND expected < 1e18), -- by the journal
    opening_float numeric NOT NULL CHECK (opening_float >= 0 AND opening_float < 1e18),
    counted       numeric NOT NULL CHECK (counted > -1e18 AND counted < 1e18),
    count_no      integer, -- null: it was not counted, since nothing was expected there
    difference    numeric NOT NULL GENERATED ALWAYS AS (counted - opening_float - expected) STORED,
    PRIMARY KEY (book, site, day, spell, account_code),
    FOREIGN KEY (book, site, day, spell) REFERENCES ledger.cash_days,
    FOREIGN KEY (book, site, day, spell, count_no, account_code) REFERENCES ledger.cash_counts,
    CONSTRAINT what_was_not_counted_is_nothing CHECK (count_no IS NOT NULL OR (counted = 0 AND expected = 0 AND opening_float = 0))
);

CREATE TABLE ledger.cash_closings (
    book      text NOT NULL,
    site      text NOT NULL,
    day       date NOT NULL,
    spell     integer NOT NULL,
    entry_id  bigint UNIQUE, -- posts the difference; null where there is none
    forced    boolean NOT NULL, -- although bills were queued
    note      text,
    closed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_by text NOT NULL DEFAULT session_user,
    PRIMARY KEY (book, site, day, spell),
    FOREIGN KEY (book, site, day, spell) REFERENCES ledger.cash_days,
    CHECK (NOT forced OR note IS NOT NULL)
);
-- Whoever posts asks whether anything is closed on a day at all.
CREATE INDEX cash_closings_book_day_idx ON ledger.cash_closings (book, day);

CREATE TABLE ledger.cash_reopenings (
    book        text NOT NULL,
    site        text NOT NULL,
    day         date NOT NULL,
    spell       integer NOT NULL,
    entry_id    bigint UNIQUE, -- reverses that of the closing
    reason      text NOT NULL CHECK (trim(reason) <> ''),
    reopened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reopened_by text NOT NULL DEFAULT session_user,
    PRIMARY KEY (book, site, day, spell),
    FOREIGN KEY (book, site, day, spell) REFERENCES ledger.cash_closings
);

-- The difference is an entry of a kind of its own. NOT VALID: the old rows kept a narrower rule, and there was no such type.
ALTER TABLE ledger.journal_entries DROP CONSTRAINT journal_entries_kind_check;
ALTER TABLE ledger.journal_entries ADD CONSTRAINT journal_entries_kind_check
    CHECK (kind IN ('original', 'reversal', 'correction', 'settlement', 'closure')) NOT VALID;
-- No bill can be taken for a closure, nor a closure for a bill: no source can have that name.
ALTER TABLE ledger.journal_entries ADD CONSTRAINT closures_are_no_bills
    CHECK ((reference_type = 'CASH_CLOSURE') = (source = '(closure)')
           AND (reference_type = 'CASH_CLOSURE') = (kind = 'closure' OR (kind = 'reversal' AND source = '(closure)'))) NOT VALID;
-- Days of a journal lie together, more or less. An index of ranges costs a write next to nothing, and spares whoever closes a day, while
-- nobody can post, from reading all of it.
CREATE INDEX journal_entries_posting_date_idx ON ledger.journal_entries USING brin (posting_date) WITH (pages_per_range = 32);
