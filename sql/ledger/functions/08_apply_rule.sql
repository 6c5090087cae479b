-- Purpose: bring a version of a posting rule into force, for members of daybook_controller. Who posts holds the book FOR SHARE
--          and compares the versions afterwards, so once this has committed nobody posts by the old ones. Every source then
--          enqueues the table's bills by itself, as soon as it sees that the versions have changed.
-- Inputs:  definition   the TOML text, and in valid_from the day that it names (null: from the beginning); it was validated by
--                       `daybook rules apply`, which calls this
--          replace      whether posted bills may be judged anew: by a version that replaces that of the same day, or that begins
--                       before the last of them
-- Returns whether anything changed. Touches: books (row lock), posting_rules.
CREATE OR REPLACE FUNCTION ledger.apply_rule(
    book text, reference_type text, definition text, valid_from date DEFAULT NULL, replace boolean DEFAULT false
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    first_day date := coalesce(apply_rule.valid_from, '-infinity');
    present ledger.posting_rules;
BEGIN
    PERFORM FROM ledger.books AS b WHERE b.book = apply_rule.book FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no book %', apply_rule.book USING HINT = 'Books stand in ledger.books.';
    END IF;
    SELECT * INTO present FROM ledger.posting_rules AS r
    WHERE r.book = apply_rule.book AND r.reference_type = apply_rule.reference_type AND r.valid_from = first_day
      AND r.replaced_at IS NULL;
    IF present.definition = apply_rule.definition THEN
        RETURN false;
    ELSIF present.book IS NOT NULL AND NOT apply_rule.replace THEN
        RAISE EXCEPTION 'a version of rule % that is valid from % is in force already', apply_rule.reference_type,
            CASE WHEN isfinite(first_day) THEN first_day::text ELSE 'the beginning' END
            USING HINT = 'Give the new one a valid_from after the bills that are posted; or replace it, which judges its '
                         || 'bills anew: look at `daybook rules preview` first, then `daybook rules apply --replace`.';
    END IF;
    IF NOT apply_rule.replace
       AND EXISTS (SELECT FROM ledger.posting_rules AS r
                   WHERE r.book = apply_rule.book AND r.reference_type = apply_rule.reference_type AND r.replaced_at IS NULL)
       AND EXISTS (SELECT FROM ledger.journal_entries AS e
                   WHERE e.book = apply_rule.book AND e.reference_type = apply_rule.reference_type AND e.effective_date >= first_day) THEN
        RAISE EXCEPTION 'bills of % with effective dates from % on are posted already, and would be judged anew',
            apply_rule.reference_type, first_day
            USING HINT = 'Give the version a valid_from after them; or look at `daybook rules preview`, then `daybook rules apply '
                         || '--replace`.';
    END IF;
    UPDATE ledger.posting_rules AS r SET replaced_at = clock_timestamp(), replaced_by = session_user
    WHERE r.book = present.book AND r.reference_type = present.reference_type AND r.version = present.version;
    INSERT INTO ledger.posting_rules (book, reference_type, version, valid_from, rule_hash, definition)
    SELECT apply_rule.book, apply_rule.reference_type, coalesce(max(r.version), 0) + 1, first_day,
           encode(sha256(convert_to(apply_rule.definition, 'UTF8')), 'hex'), apply_rule.definition
    FROM ledger.posting_rules AS r
    WHERE r.book = apply_rule.book AND r.reference_type = apply_rule.reference_type;
    RETURN true;
END
$$;
