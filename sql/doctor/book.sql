-- Purpose: what the ledger knows of a book and of one source of it. Inputs: $1 book, $2 source.
-- Touches: books, accounts, posting_rules, sources, sync_master_status, read only.
SELECT jsonb_build_object(
    'time_zone', (SELECT time_zone FROM ledger.books WHERE book = $1),
    'accounts', (SELECT coalesce(jsonb_agg(account_code), '[]') FROM ledger.accounts WHERE book = $1),
    'rules', (SELECT coalesce(jsonb_agg(jsonb_build_object('reference_type', reference_type, 'definition', definition)
                                        ORDER BY reference_type, valid_from), '[]')
              FROM ledger.posting_rules WHERE book = $1 AND replaced_at IS NULL),
    'known', (SELECT jsonb_build_object('token', token, 'highest_seq', highest_seq, 'database_name', coalesce(database_name, ''), 'timeline', timeline,
                                        'system_identifier', system_identifier, 'database_oid', database_oid::bigint)
              FROM ledger.sources WHERE book = $1 AND source = $2),
    'retained', (SELECT coalesce(jsonb_agg(jsonb_build_object('reference_type', reference_type, 'because', retained_because,
                                                              'bills', bills, 'reference_ids', reference_ids)), '[]')
                 FROM (SELECT reference_type, retained_because, count(*) AS bills,
                              (array_agg(reference_id ORDER BY reference_id))[1:100] AS reference_ids
                       FROM ledger.sync_master_status
                       WHERE book = $1 AND source = $2 AND state = 'retained' GROUP BY 1, 2 ORDER BY 1, 2) AS r))
