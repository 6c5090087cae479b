-- Purpose: drop daybook's roles, where nothing in this cluster depends on them any more. Run last on either side.
-- Touches: the cluster's roles.
DO $roles$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['daybook_consumer', 'daybook_controller', 'daybook_cashier', 'daybook_reader', 'daybook_owner'] LOOP
        IF to_regrole(role_name) IS NOT NULL THEN
            BEGIN
                EXECUTE format('DROP ROLE %I', role_name);
            EXCEPTION WHEN dependent_objects_still_exist THEN
                RAISE NOTICE 'role % stays, because something else depends on it: %', role_name, SQLERRM;
            END;
        END IF;
    END LOOP;
END
$roles$;
