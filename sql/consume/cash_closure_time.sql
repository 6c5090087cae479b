-- Purpose: by when a day of cash is to be closed. Touches: sync_configuration, read only.
SELECT config_value FROM daybook.sync_configuration WHERE config_key = 'cash_closure_time'
