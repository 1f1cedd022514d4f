-- Indexes that observe rows: whether each does, and whether each attached table has one.
WITH RECURSIVE
extension AS (SELECT e.oid, e.extnamespace FROM pg_extension e WHERE e.extname = 'asn_inventory'),
observe AS (SELECT p.oid FROM pg_proc p JOIN extension e ON p.pronamespace = e.extnamespace WHERE p.proname = 'observe_addresses' AND p.pronargs = 0),
source AS MATERIALIZED (
    SELECT s.tbl::oid AS tbl, s.tbl::text AS name, s.ip_columns, s.method, c.relkind,
           concat(format('SELECT %s.attach_ip_source(%L, %L, %L, ''index''', '@extschema@', s.tbl::text, s.ip_columns,
                         coalesce(w.observed_path, s.observed_at::text) || coalesce('@' || s.observed_zone, '')),
                  format(', only_where => %L', w.only_where), format(', sensor => %L', w.sensor), ');') AS attach
    FROM @extschema@.ip_source s JOIN pg_class c ON c.oid = s.tbl,
         -- Columns that are not there until the extension is updated.
         LATERAL (SELECT j.observed_path, nullif(j.only_where, '') AS only_where, nullif(j.sensor, '') AS sensor
                  FROM jsonb_to_record(to_jsonb(s)) AS j(only_where text, observed_path text, sensor text)) w),
family(root, tbl) AS (
    SELECT s.tbl, s.tbl FROM source s
    UNION
    SELECT f.root, i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.tbl),
-- Tables that other extensions manage, which give them their indexes.
managed AS MATERIALIZED (
    SELECT d.classid, d.objid FROM pg_depend d, extension e
    WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid <> e.oid AND d.deptype = 'e' AND d.classid IN ('pg_class'::regclass, 'pg_namespace'::regclass)),
observer AS MATERIALIZED (
    SELECT x.indexrelid, x.indrelid, c.relkind, c.relispartition, x.indisvalid,
           -- Without selectors, the key columns are read.
           (SELECT substr(o, length('selectors=') + 1)::text[] FROM unnest(c.reloptions) o WHERE starts_with(o, 'selectors=')) AS selectors,
           EXISTS (SELECT FROM unnest(c.reloptions) o WHERE o IN ('replica=true', 'replica=on', 'replica=1', 'replica=yes')) AS replica
    FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am a ON a.oid = c.relam
    WHERE a.amname = 'ip_observer'),
member AS MATERIALIZED (
    SELECT f.root, f.tbl, f.tbl = f.root AS is_root FROM family f JOIN pg_class c ON c.oid = f.tbl JOIN source s ON s.tbl = f.root
    WHERE c.relkind IN ('r', 'p') AND s.method = 'index'
      AND (f.tbl = f.root
           OR f.tbl NOT IN (SELECT s.tbl FROM source s)
              AND NOT EXISTS (SELECT FROM managed m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
              AND NOT EXISTS (SELECT FROM managed m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = c.relnamespace))),
trigger AS (SELECT DISTINCT t.tgrelid FROM pg_trigger t JOIN observe o ON o.oid = t.tgfoid WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'),
lacking AS (
    SELECT m.root, m.is_root, count(*) AS tables, (array_agg(m.tbl::regclass::text ORDER BY m.tbl))[1:3] AS names,
           bool_or(EXISTS (SELECT FROM observer o WHERE o.indrelid = m.tbl)) AS is_invalid
    FROM member m
    WHERE NOT EXISTS (SELECT FROM observer o WHERE o.indrelid = m.tbl AND o.indisvalid) AND m.tbl NOT IN (SELECT t.tgrelid FROM trigger t)
    GROUP BY m.root, m.is_root)
SELECT 'observer indexes', 'error',
       CASE WHEN l.is_root THEN format('Rows inserted into %s are not observed: its index %s.', s.name, w.words)
            ELSE format('Rows inserted into %s%s, below %s, are not observed: the index there %s.', array_to_string(l.names, ', '),
                        CASE WHEN l.tables > 3 THEN format(' and %s others', l.tables - 3) END, s.name, w.words) END,
       s.attach
FROM lacking l JOIN source s ON s.tbl = l.root,
     LATERAL (SELECT CASE WHEN l.is_invalid THEN 'is not valid' ELSE 'is gone' END AS words) w
UNION ALL
SELECT 'observer indexes', 'error', format('%s reads other columns than ip_source lists for %s.', o.indexrelid::regclass, s.name), s.attach
FROM observer o JOIN source s ON s.tbl = o.indrelid AND s.method = 'index' WHERE o.indisvalid AND o.selectors <> s.ip_columns
UNION ALL
SELECT 'observer indexes', 'warning', format('%s has a trigger and the index %s: its rows are counted once, by the trigger.', o.indrelid::regclass, o.indexrelid::regclass),
       format('DROP INDEX %s;  -- or attach the table again with method => ''index''', o.indexrelid::regclass)
FROM observer o WHERE o.indrelid IN (SELECT t.tgrelid FROM trigger t) AND NOT o.relispartition
UNION ALL
SELECT 'observer indexes', 'warning', format('%s observes nothing: %s is not attached.', o.indexrelid::regclass, o.indrelid::regclass),
       format('SELECT %s.attach_ip_source(%L, %L, method => ''index'');  -- or DROP INDEX %s;', '@extschema@', o.indrelid::regclass::text,
              coalesce(o.selectors, (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a, pg_index x
                                     WHERE a.attrelid = o.indexrelid AND x.indexrelid = o.indexrelid AND a.attnum <= x.indnkeyatts)), o.indexrelid::regclass)
FROM observer o
WHERE o.indrelid NOT IN (SELECT f.tbl FROM family f) AND NOT o.relispartition
UNION ALL
-- An index keeps the names of its columns, and a dump has those of the table.
SELECT 'observer indexes', 'warning', format('Column %s of %s was renamed: its index reads it, but a dump of that cannot be restored.', string_agg(quote_ident(a.attname), ', '), s.name), s.attach
FROM observer o JOIN source s ON s.tbl = o.indrelid JOIN pg_index x ON x.indexrelid = o.indexrelid
JOIN pg_attribute n ON n.attrelid = o.indexrelid JOIN pg_attribute a ON a.attrelid = o.indrelid AND a.attnum = x.indkey[n.attnum - 1]
WHERE a.attnum > 0 AND a.attname <> n.attname
GROUP BY s.name, s.attach, o.indexrelid
UNION ALL
SELECT 'observer indexes', 'warning', format('Rows that a subscription brings into %s are not observed.', f.tbl::regclass),
       format('ALTER INDEX %s SET (replica = true); SELECT %s.populate_ip_inventory(%L);', o.indexrelid::regclass, '@extschema@', s.name)
FROM family f JOIN source s ON s.tbl = f.root JOIN pg_subscription_rel r ON r.srrelid = f.tbl JOIN observer o ON o.indrelid = f.tbl
WHERE s.method = 'index' AND NOT o.replica
