-- Purpose: the highest id of an entry that events of this source ended with. Touches: sync_audit_log, read only; all of it,
--          after a restoration only.
SELECT coalesce(max(entry_id), 0) FROM daybook.sync_audit_log
