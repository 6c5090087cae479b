-- Purpose: what a DBA decides per table, and what is known of it.
-- go_live: bills of an earlier effective date are out of scope for posting, backfill and proof.
-- on_delete: what becomes of the entries of a bill whose row is gone: reversed; kept; or kept with an alert.
-- partitions: as they were when the table was last looked at, by the OIDs of their triggers, which are made anew whenever one is
-- attached; attaching and detaching one moves rows without any event.
-- rules: the numbers of the rule versions by which its bills are judged; null before the first one was.
-- reconciled_at: when every key that the table held had last been enqueued; null: what existed before attach was not.
ALTER TABLE daybook.sync_source
    ADD COLUMN go_live date CHECK (isfinite(go_live)),
    ADD COLUMN on_delete text NOT NULL DEFAULT 'reverse' CHECK (on_delete IN ('reverse', 'keep', 'alert')),
    ADD COLUMN partitions oid[] NOT NULL DEFAULT '{}',
    ADD COLUMN rules text,
    ADD COLUMN reconciled_at timestamptz;
