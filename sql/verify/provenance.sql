-- Purpose: entries of a range that do not tell what caused them, or name a rule or an account that is not known. A closing of cash has no
--          rule, and numbers of its own, below zero.
-- Inputs: $1 book, $2 after which id, $3 up to which. Touches: the journal, posting_rules, accounts, read only.
SELECT f.kind, f.entry_id, f.source, f.reference_type, f.reference_id, f.problem
FROM (SELECT 'provenance' AS kind, e.id AS entry_id, e.source, e.reference_type, e.reference_id,
             CASE WHEN (sign(e.event_seq) = CASE e.reference_type WHEN 'CASH_CLOSURE' THEN -1 ELSE 1 END AND e.event_origin <> '' AND e.event_xid <> '0' AND isfinite(e.changed_at)
                        AND (e.session_user_name <> '' OR e.event_origin = 'wal')) IS NOT TRUE -- the WAL does not tell who
                      THEN 'it does not tell the event, transaction, time and user that caused it'
                  WHEN e.reference_type <> 'CASH_CLOSURE'
                       AND NOT EXISTS (SELECT FROM ledger.posting_rules AS r
                                   WHERE r.book = e.book AND r.reference_type = e.reference_type AND r.rule_hash = e.rule_hash)
                      THEN 'it names a rule that is not in ledger.posting_rules'
                  WHEN EXISTS (SELECT FROM ledger.journal_lines AS l
                               LEFT JOIN ledger.accounts AS a ON a.book = e.book AND a.account_code = l.account_code
                               WHERE l.entry_id = e.id AND a.account_code IS NULL)
                      THEN 'a line is on an account that is not in ledger.accounts' END AS problem
      FROM ledger.journal_entries AS e
      WHERE e.book = $1 AND e.id > $2 AND e.id <= $3) AS f
WHERE f.problem IS NOT NULL
ORDER BY f.entry_id
