-- Purpose: how many more bills of a table may be reversed within this hour because their rows are gone. Locks the brake until
--          the transaction ends, so that workers count together. Inputs: $1 book, $2 source, $3 reference type.
-- Touches: ledger.reversal_brakes.
INSERT INTO ledger.reversal_brakes AS b (book, source, reference_type, hour_began_at, reversed)
VALUES ($1, $2, $3, clock_timestamp(), 0)
ON CONFLICT (book, source, reference_type) DO UPDATE
    SET reversed = CASE WHEN b.hour_began_at > clock_timestamp() - interval '1 hour' THEN b.reversed ELSE 0 END,
        hour_began_at = CASE WHEN b.hour_began_at > clock_timestamp() - interval '1 hour' THEN b.hour_began_at
                             ELSE clock_timestamp() END
RETURNING reversed
