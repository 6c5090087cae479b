-- Purpose: who this source is, and which book its bills belong to. Touches: sync_configuration, read only.
SELECT (SELECT config_value FROM daybook.sync_configuration WHERE config_key = 'source_name') AS source,
       (SELECT config_value FROM daybook.sync_configuration WHERE config_key = 'book') AS book
