-- Purpose: the rules of the clinic, by their first days; days is null where one is not enabled, and 0 where it asks for none. And the day in
-- the book's zone. Inputs: $1 the book's time zone. Touches: clinic_rules, read only.
SELECT clinic_rule, array_agg(valid_from::text ORDER BY valid_from) AS first_days,
       array_agg(CASE WHEN is_enabled THEN coalesce(days, 0) END ORDER BY valid_from) AS days,
       timezone($1, clock_timestamp())::date::text AS today
FROM daybook.clinic_rules
GROUP BY clinic_rule
ORDER BY clinic_rule
