-- Purpose: who this source is, and whether somebody consumes. Touches: sync_configuration, sync_system_health, read only.
SELECT (SELECT config_value FROM daybook.sync_configuration WHERE config_key = 'source_name') AS source,
       (SELECT config_value FROM daybook.sync_configuration WHERE config_key = 'book') AS book,
       (SELECT count(*) FROM daybook.sync_system_health
        WHERE heartbeat_at > clock_timestamp() - interval '30 seconds') AS consumers_alive
