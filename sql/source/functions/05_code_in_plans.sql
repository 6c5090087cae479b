-- Purpose: the functions and operators of the application's own that PostgreSQL may run as soon as anybody plans a query of a table,
--          with the rights of whoever asks: it folds what is constant in the expressions and predicates of indexes, in extended
--          statistics, in partition keys, and in the CHECK constraints of partitions. What a superuser owns is trusted.
--          Each as ALTER names it.
-- Inputs: the table. Touches: the catalog, read only.
CREATE OR REPLACE FUNCTION daybook.code_in_plans(attached regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH parts AS MATERIALIZED (SELECT part::oid AS oid FROM daybook.relation_parts(attached) AS part),
    planned AS (
        SELECT 'pg_class'::regclass AS classid, i.indexrelid AS objid FROM pg_index AS i JOIN parts ON parts.oid = i.indrelid
        WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
        UNION ALL
        SELECT 'pg_class'::regclass, p.partrelid FROM pg_partitioned_table AS p JOIN parts ON parts.oid = p.partrelid
        UNION ALL
        SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext AS s JOIN parts ON parts.oid = s.stxrelid
        UNION ALL
        SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint AS k JOIN parts ON parts.oid = k.conrelid
        WHERE k.contype = 'c' AND parts.oid <> attached)
    SELECT coalesce(array_agg(DISTINCT code.name), '{}')
    FROM planned AS p
    JOIN pg_depend AS d ON d.classid = p.classid AND d.objid = p.objid
    CROSS JOIN LATERAL (
        SELECT 'FUNCTION ' || f.oid::regprocedure, f.proowner FROM pg_proc AS f WHERE d.refclassid = 'pg_proc'::regclass AND f.oid = d.refobjid
        UNION ALL
        SELECT 'OPERATOR ' || o.oid::regoperator, o.oprowner FROM pg_operator AS o WHERE d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
    ) AS code (name, owner)
    JOIN pg_roles AS r ON r.oid = code.owner
    WHERE NOT r.rolsuper
$$;
