-- Purpose: what needs more rights than daybook_owner's: let daybook_owner see how old other sessions' snapshots are, for
--          daybook.older_transactions_ended. And bring the capture functions of attached tables to this version.
DO $after$
BEGIN
    BEGIN
        GRANT pg_read_all_stats TO daybook_owner;
    EXCEPTION WHEN unique_violation THEN
        NULL; -- Another installation in this cluster granted it just now.
    END;
    PERFORM daybook.keep_partitions();
    PERFORM daybook.write_capture_function(relation) FROM daybook.sync_source;
END
$after$;
