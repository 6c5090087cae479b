-- Purpose: the schema of the ledger side, owned by daybook_owner. What follows it runs as that role. One of the name that somebody
--          else owns is refused: its owner could put other functions in the place of ours, and they would run with our rights.
-- Touches: nothing that exists.
DO $schema$
DECLARE
    other name := (SELECT pg_get_userbyid(nspowner) FROM pg_namespace
                   WHERE nspname = 'ledger' AND nspowner <> 'daybook_owner'::regrole);
BEGIN
    IF other IS NOT NULL THEN
        RAISE EXCEPTION 'a schema ledger is here already, and belongs to %', other
            USING HINT = 'Look at what it holds. If it is nobody''s: DROP SCHEMA ledger CASCADE, or rename it, and install again.';
    END IF;
END
$schema$;
CREATE SCHEMA IF NOT EXISTS ledger AUTHORIZATION daybook_owner;
