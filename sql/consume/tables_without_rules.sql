-- Purpose: the tables whose bills nobody has judged since they were attached. Touches: sync_source, read only.
SELECT reference_type FROM daybook.sync_source WHERE rules IS NULL AND suspended_at IS NULL
