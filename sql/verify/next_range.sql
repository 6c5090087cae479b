-- Purpose: the end of the next range of entries, with as many lines as can be summed at once; null: there is no more after it.
-- Inputs: $1 after which id. Touches: the journal, read only.
SELECT least((SELECT CASE WHEN count(*) = 5000 THEN max(e.id) END
              FROM (SELECT id FROM ledger.journal_entries WHERE id > $1 ORDER BY id LIMIT 5000) AS e),
             (SELECT CASE WHEN count(*) = 50000 THEN max(l.entry_id) END
              FROM (SELECT entry_id FROM ledger.journal_lines WHERE entry_id > $1 ORDER BY entry_id LIMIT 50000) AS l))
