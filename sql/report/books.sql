-- Purpose: the books of a ledger. Touches: books, read only.
SELECT book, currency, minor_unit::integer AS minor_unit FROM ledger.books ORDER BY book COLLATE "C"
