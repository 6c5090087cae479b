-- Purpose: count bills that are reversed because their rows are gone, under the brake's lock.
-- Inputs: $1 book, $2 source, $3 reference type, $4 how many. Touches: ledger.reversal_brakes.
UPDATE ledger.reversal_brakes SET reversed = reversed + $4 WHERE book = $1 AND source = $2 AND reference_type = $3
