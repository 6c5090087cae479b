-- Purpose: create daybook's five roles where they are missing. None can log in: a DBA grants daybook_consumer to the login
--          role that `daybook run` uses, daybook_reader to people and dashboards, daybook_controller to whoever closes
--          periods and decides on posting rules and the chart of accounts, and daybook_cashier to whoever counts the day's cash.
-- Touches: the cluster's roles. Run first on the source and on the ledger; twice changes nothing.
DO $roles$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['daybook_owner', 'daybook_consumer', 'daybook_reader', 'daybook_controller',
                                   'daybook_cashier'] LOOP
        IF to_regrole(role_name) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- Another installation in this cluster created it just now.
            END;
        END IF;
    END LOOP;
    -- From 16 on, whoever made a role is a member of it, and still may not act as it.
    IF NOT pg_has_role(current_user, 'daybook_owner',
                       CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
        EXECUTE format('GRANT daybook_owner TO %I', current_user);
    END IF;
END
$roles$;
