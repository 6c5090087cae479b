-- Purpose: how far an event that has a whole table enqueued has come, so that it goes on in chunks, in key order, after any
--          interruption: the key after which the next chunk begins, and how many keys were looked at and enqueued so far.
ALTER TABLE daybook.sync_queue
    ADD COLUMN progress_key text[],
    ADD COLUMN keys_seen bigint NOT NULL DEFAULT 0,
    ADD COLUMN keys_enqueued bigint NOT NULL DEFAULT 0;
