-- Purpose: the table that is attached under a reference type. Inputs: $1 reference type. Touches: sync_source, read only.
SELECT relation::text, key_columns, filter_columns, go_live FROM daybook.sync_source WHERE reference_type = $1
