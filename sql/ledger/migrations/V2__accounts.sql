-- Purpose: the chart of accounts of each book. No line can name an account that is not here.
CREATE TABLE ledger.accounts (
    book         text NOT NULL REFERENCES ledger.books,
    account_code text NOT NULL CHECK (account_code ~ '^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$'),
    account_name text NOT NULL,
    account_type text NOT NULL CHECK (account_type IN ('asset', 'liability', 'equity', 'income', 'expense')),
    PRIMARY KEY (book, account_code)
);
