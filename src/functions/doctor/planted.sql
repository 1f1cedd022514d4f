-- What the doctor must not read or call with the caller's rights. Whoever queries a table runs the code of its indexes, constraints
-- and statistics and of its columns' types: the planner calls immutable functions of constants. So a table of a role that is neither
-- a superuser nor the caller is read only where there is no such code; a view or a function is code itself. Functions of PostgreSQL's
-- own that run a text (query_to_xml) are not immutable: the planner calls none of them. But it calls satisfies_hash_partition (5028),
-- which simplifies the expressions by which another table, of anybody's, is partitioned, and calls the functions in them. A policy is
-- run as it stands, on all whom it holds for, and may call anything: each one is code of its owner's.
-- Catalogs only. $1: the extension's schema; $2: the caller; $3: tables that may be changed at this moment; $4: those that a VACUUM
-- is at, behind which a change may wait.
WITH RECURSIVE extension AS (SELECT e.oid, e.extowner FROM pg_extension e WHERE e.extname = 'asn_inventory'),
member AS MATERIALIZED (SELECT d.classid, d.objid FROM extension e JOIN pg_depend d ON d.refobjid = e.oid
                        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
other AS MATERIALIZED (SELECT r.oid, r.rolname FROM pg_roles r WHERE NOT r.rolsuper AND r.oid <> $2),
-- The extension's that none of these roles can give another content.
trusted AS MATERIALIZED (SELECT m.classid, m.objid FROM member m
                         WHERE NOT EXISTS (SELECT FROM other o
                                           WHERE o.oid IN ((SELECT p.proowner FROM pg_proc p WHERE m.classid = 'pg_proc'::regclass AND p.oid = m.objid),
                                                           (SELECT p.proowner FROM pg_operator t JOIN pg_proc p ON p.oid = t.oprcode
                                                            WHERE m.classid = 'pg_operator'::regclass AND t.oid = m.objid),
                                                           (SELECT t.typowner FROM pg_type t WHERE m.classid = 'pg_type'::regclass AND t.oid = m.objid)))),
-- Another relation may have the name of one that was dropped or renamed.
relation AS MATERIALIZED (SELECT c.oid, c.relkind, o.rolname, EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid) AS is_ours
                          FROM pg_class c JOIN other o ON o.oid = c.relowner
                          WHERE c.relnamespace = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')),
-- Who reads a table reads all below it.
below(root, parent, child) AS (SELECT m.objid, m.objid, i.inhrelid FROM member m JOIN pg_inherits i ON m.classid = 'pg_class'::regclass AND i.inhparent = m.objid
                               UNION SELECT b.root, i.inhparent, i.inhrelid FROM below b JOIN pg_inherits i ON i.inhparent = b.child),
part(relation, classid, objid, what, code, remedy) AS (
    SELECT c.oid, 'pg_class'::regclass::oid, c.oid, format('a column of %s', c.oid::regclass), NULL, NULL FROM relation c
    UNION ALL
    SELECT c.oid, 'pg_attrdef'::regclass::oid, d.oid, format('column %I of %s', a.attname, c.oid::regclass), d.adbin::text,
           format('ALTER TABLE %s DROP COLUMN %I;', c.oid::regclass, a.attname)
    FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE a.attgenerated = 'v'
    UNION ALL
    SELECT c.oid, 'pg_class'::regclass::oid, i.indexrelid, format('index %s on %s', i.indexrelid::regclass, c.oid::regclass), concat(i.indexprs, i.indpred),
           CASE WHEN n.oid IS NULL THEN format('DROP INDEX %s;', i.indexrelid::regclass) ELSE format('ALTER TABLE %s DROP CONSTRAINT %I;', c.oid::regclass, n.conname) END
    FROM relation c JOIN pg_index i ON i.indrelid = c.oid LEFT JOIN pg_constraint n ON n.conindid = i.indexrelid AND n.conrelid = c.oid
    UNION ALL
    SELECT c.oid, 'pg_constraint'::regclass::oid, n.oid, format('constraint %I on %s', n.conname, c.oid::regclass), n.conbin::text, format('ALTER TABLE %s DROP CONSTRAINT %I;', c.oid::regclass, n.conname)
    FROM relation c JOIN pg_constraint n ON n.conrelid = c.oid AND n.contype = 'c'
    UNION ALL
    SELECT c.oid, 'pg_statistic_ext'::regclass::oid, s.oid, format('statistics %I.%I on %s', n.nspname, s.stxname, c.oid::regclass), s.stxexprs::text, format('DROP STATISTICS %I.%I;', n.nspname, s.stxname)
    FROM relation c JOIN pg_statistic_ext s ON s.stxrelid = c.oid JOIN pg_namespace n ON n.oid = s.stxnamespace)
SELECT 'pg_class'::regclass::oid, c.oid, format('%s belongs to %s, who decides what is run where it is read', c.oid::regclass, c.rolname),
       CASE WHEN c.is_ours AND c.relkind = 'v' THEN format('ALTER VIEW %s OWNER TO %I;', c.oid::regclass, pg_get_userbyid(e.extowner)) END
FROM relation c CROSS JOIN extension e WHERE c.relkind <> 'r' OR NOT c.is_ours
UNION ALL
SELECT 'pg_class'::regclass::oid, p.relation, format('%s calls code that is not the extension''s, and would run it with the rights of %s', p.what, pg_get_userbyid($2)), p.remedy
FROM part p
WHERE p.code ~ ':funcid 5028\M'
   OR EXISTS (SELECT FROM pg_depend d
              WHERE d.classid = p.classid AND d.objid = p.objid AND d.refobjid >= 16384
                AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_opclass'::regclass, 'pg_opfamily'::regclass)
                AND NOT EXISTS (SELECT FROM trusted t WHERE t.classid = d.refclassid AND t.objid = d.refobjid))
UNION ALL
SELECT 'pg_class'::regclass::oid, c.oid, format('policy %I on %s may call any code, and would run it with the rights of %s', p.polname, c.oid::regclass, pg_get_userbyid($2)),
       format('DROP POLICY %I ON %s;', p.polname, c.oid::regclass)
FROM relation c JOIN pg_policy p ON p.polrelid = c.oid WHERE row_security_active(c.oid)
UNION ALL
SELECT 'pg_class'::regclass::oid, c.oid, format('%s belongs to %s, and %s', c.oid::regclass, c.rolname,
           CASE WHEN c.oid = ANY ($4) THEN 'a VACUUM is at work on it, behind which it may be changed' ELSE 'may be changed at this moment' END), NULL
FROM relation c WHERE c.oid = ANY ($3) OR c.oid = ANY ($4)
UNION ALL
SELECT 'pg_class'::regclass::oid, b.root, format('the child table %s of %s belongs to %s', b.child::regclass, b.parent::regclass, o.rolname),
       format('ALTER TABLE %s NO INHERIT %s;', b.child::regclass, b.parent::regclass)
FROM below b JOIN pg_class c ON c.oid = b.child JOIN other o ON o.oid = c.relowner
UNION ALL
SELECT 'pg_proc'::regclass::oid, p.oid, format('function %s belongs to %s, who decides what it runs', p.oid::regprocedure, o.rolname),
       CASE WHEN m.objid IS NOT NULL THEN format('ALTER FUNCTION %s OWNER TO %I;', p.oid::regprocedure, pg_get_userbyid(e.extowner)) END
FROM extension e CROSS JOIN pg_proc p JOIN other o ON o.oid = p.proowner
LEFT JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
-- One that others have made stands for ours only where ours is gone.
WHERE p.pronamespace = $1
  AND (m.objid IS NOT NULL OR NOT EXISTS (SELECT FROM pg_proc q JOIN member k ON k.classid = 'pg_proc'::regclass AND k.objid = q.oid
                                          WHERE q.pronamespace = $1 AND q.proname = p.proname))
