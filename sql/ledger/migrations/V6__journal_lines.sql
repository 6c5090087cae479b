-- Purpose: the lines of entries. debit < 1e18 also refuses NaN and Infinity, which are greater than every number.
-- There is no foreign key: the statement trigger that seals an entry joins its header and its accounts anyway, and fires
-- under session_replication_role = replica, where foreign keys do not.
CREATE TABLE ledger.journal_lines (
    entry_id      bigint NOT NULL,
    line_no       integer NOT NULL CHECK (line_no >= 1),
    account_code  text NOT NULL,
    debit         numeric NOT NULL CHECK (debit >= 0 AND debit < 1e18),
    credit        numeric NOT NULL CHECK (credit >= 0 AND credit < 1e18),
    currency      text NOT NULL,
    is_settlement boolean NOT NULL, -- tells how the bill was settled; it may move without restating the sale
    site          text,
    department    text,
    party         text,
    PRIMARY KEY (entry_id, line_no),
    CONSTRAINT one_side_is_positive_and_the_other_zero CHECK ((debit = 0) <> (credit = 0))
);
