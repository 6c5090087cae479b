-- Purpose: how texts of this database can be compared as the posting function compares them: its encoding, and the collation by which
--          PostgreSQL lowers case by Unicode, whatever the locale; null where it was built without ICU and is older than 17.
-- Touches: the catalog, read only.
SELECT getdatabaseencoding() AS encoding,
       (SELECT max(c.collname)::text
        FROM pg_catalog.pg_collation AS c
        WHERE c.collnamespace = 'pg_catalog'::regnamespace
          AND c.collname IN ('und-x-icu', 'pg_c_utf8')
          AND getdatabaseencoding() = 'UTF8') AS unicode_collation
