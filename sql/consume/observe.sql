-- Purpose: open and resolve alerts, and note the figures of this minute. Before the sign of life: it tells whether nobody was there.
-- Touches: what daybook.look_for_alerts and daybook.measure_health say.
SELECT daybook.look_for_alerts(), daybook.measure_health()
