-- Purpose: append a batch of entries, headers and lines in one statement, as the journal's guards demand.
-- Inputs: $1 book, $2 source, $3 reference type, $4 rule hashes, one an entry, $5 currency, $6 sites, one a line;
--         headers: $7 ids, $8 reference ids, $9 revisions, $10 kinds, $11 effective dates, $12 posting dates, $13 late,
--         $14 reversed ids, $15 line counts, $16 totals, $17 event seqs, $18 origins, $19 xids, $20 changed at,
--         $21 session users, $22 applications;
--         lines: $23 entry ids, $24 line numbers, $25 accounts, $26 debits, $27 credits, $28 settlement, $29 departments,
--         $30 parties.
-- Touches: ledger.journal_entries, ledger.journal_lines.
WITH entries AS (
    INSERT INTO ledger.journal_entries
        (book, source, reference_type, rule_hash, id, reference_id, revision, kind, effective_date, posting_date, late,
         reverses_id, line_count, total, event_seq, event_origin, event_xid, changed_at, session_user_name,
         application_name)
    SELECT $1, $2, $3, h.rule_hash, h.id, h.reference_id, h.revision, h.kind, h.effective_date, h.posting_date, h.late,
           h.reverses_id, h.line_count, h.total, h.event_seq, h.event_origin, h.event_xid::xid8, h.changed_at,
           h.session_user_name, h.application_name
    FROM unnest($7::bigint[], $8::text[], $9::integer[], $10::text[], $11::date[], $12::date[], $13::boolean[],
                $14::bigint[], $15::integer[], $16::numeric[], $17::bigint[], $18::text[], $19::text[],
                $20::timestamptz[], $21::text[], $22::text[], $4::text[])
         AS h (id, reference_id, revision, kind, effective_date, posting_date, late, reverses_id, line_count, total,
               event_seq, event_origin, event_xid, changed_at, session_user_name, application_name, rule_hash)
)
INSERT INTO ledger.journal_lines
    (currency, site, entry_id, line_no, account_code, debit, credit, is_settlement, department, party)
SELECT $5, l.site, l.entry_id, l.line_no, l.account_code, l.debit, l.credit, l.is_settlement, l.department, l.party
FROM unnest($23::bigint[], $24::integer[], $25::text[], $26::numeric[], $27::numeric[], $28::boolean[], $29::text[],
            $30::text[], $6::text[])
     AS l (entry_id, line_no, account_code, debit, credit, is_settlement, department, party, site)
