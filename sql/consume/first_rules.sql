-- Purpose: note the versions of the rule by which a table's bills are judged for the first time.
-- Inputs: $1 reference type, $2 the versions. Touches: sync_source.
UPDATE daybook.sync_source SET rules = $2 WHERE reference_type = $1 AND rules IS NULL
