-- Purpose: end sessions of consumers that do not take their answers. The process was stopped in the middle of one; its server cannot finish
--          it, no time limit of the server's applies, and the locks are kept. Ours alone: of this login role, under a consumer's name.
-- One that merely takes long is left alone: it has the time that a statement may take.
-- Touches: pg_stat_activity. Returns the processes of the server that were ended.
-- Materialised, for conditions are evaluated in any order, and none may end a session before the others were looked at.
WITH unheard AS MATERIALIZED (
    SELECT pid
    FROM pg_stat_activity
    WHERE usename = session_user AND pid <> pg_backend_pid() AND application_name LIKE '% consumer'
      AND wait_event = 'ClientWrite' AND state_change < clock_timestamp() - current_setting('statement_timeout')::interval - interval '5 seconds'
)
SELECT pid, pg_terminate_backend(pid) FROM unheard
