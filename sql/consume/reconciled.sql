-- Purpose: note that every key of a table has been enqueued. Inputs: $1 reference type. Touches: sync_source.
UPDATE daybook.sync_source SET reconciled_at = clock_timestamp() WHERE reference_type = $1
