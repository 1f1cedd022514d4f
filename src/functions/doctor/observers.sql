-- Indexes that observe rows: whether each does, and whether each attached table has one. $1: the tables that Citus distributes. Of a
-- node of its cluster that is not the coordinator, $2: its other tables, which the coordinator notes; $3: true. $4: tables of which not
-- all columns are there by the names that ip_source has, $5: what attaches each.
WITH RECURSIVE
extension AS (SELECT e.oid, e.extnamespace FROM pg_extension e WHERE e.extname = 'asn_inventory'),
observe AS (SELECT p.oid FROM pg_proc p JOIN extension e ON p.pronamespace = e.extnamespace WHERE p.proname = 'observe_addresses' AND p.pronargs = 0),
source AS MATERIALIZED (
    SELECT s.tbl::oid AS tbl, s.tbl::text AS name, s.ip_columns, s.method, c.relkind, w.only_where, w.sensor, s.observed_at IS NOT NULL AS has_time,
           coalesce((SELECT m.call FROM unnest($4, $5) m(tbl, call) WHERE m.tbl = c.oid),
                    concat(format('SELECT %s.attach_ip_source(%L, %L, %L, ''index''', '@extschema@', s.tbl::text, s.ip_columns,
                                  coalesce(w.observed_path, s.observed_at::text) || coalesce('@' || s.observed_zone, '')),
                           format(', only_where => %L', w.only_where), format(', sensor => %L', w.sensor), ');')) AS attach,
           CASE WHEN $3 AND c.oid = ANY ($1) THEN '  -- on the coordinator' ELSE '' END AS place
    FROM @extschema@.ip_source s JOIN pg_class c ON c.oid = s.tbl,
         -- Columns that are not there until the extension is updated.
         LATERAL (SELECT j.observed_path, nullif(j.only_where, '') AS only_where, nullif(j.sensor, '') AS sensor
                  FROM jsonb_to_record(to_jsonb(s)) AS j(only_where text, observed_path text, sensor text)) w
    WHERE c.oid <> ALL ($2)),
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
           coalesce((SELECT substr(o, length('selectors=') + 1)::text[] FROM unnest(c.reloptions) o WHERE starts_with(o, 'selectors=')),
                    (SELECT array_agg(CASE WHEN a.attname ~ '->|^"|^\s|\s$|\)$' THEN format('"%s"', replace(a.attname, '"', '""')) ELSE a.attname::text END ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = x.indexrelid AND a.attnum <= x.indnkeyatts)) AS selectors,
           (SELECT nullif(substr(o, length('only_where=') + 1), '') FROM unnest(c.reloptions) o WHERE starts_with(o, 'only_where=')) AS only_where,
           (SELECT nullif(substr(o, length('sensor=') + 1), '') FROM unnest(c.reloptions) o WHERE starts_with(o, 'sensor=')) AS sensor,
           (SELECT nullif(substr(o, length('observed_at=') + 1), '') FROM unnest(c.reloptions) o WHERE starts_with(o, 'observed_at=')) AS observed_at,
           EXISTS (SELECT FROM unnest(c.reloptions) o WHERE o IN ('replica=true', 'replica=on', 'replica=1', 'replica=yes')) AS replica
    FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am a ON a.oid = c.relam
    WHERE a.amname = 'ip_observer'),
-- What all indexes of a table read.
reading AS MATERIALIZED (
    SELECT o.indrelid, array_agg(u) AS columns FROM observer o, unnest(o.selectors) u WHERE o.indisvalid GROUP BY o.indrelid),
member AS MATERIALIZED (
    SELECT f.root, f.tbl, f.tbl = f.root AS is_root FROM family f JOIN pg_class c ON c.oid = f.tbl JOIN source s ON s.tbl = f.root
    WHERE c.relkind IN ('r', 'p') AND s.method = 'index'
      AND (f.tbl = f.root
           OR f.tbl NOT IN (SELECT s.tbl FROM source s)
              AND NOT EXISTS (SELECT FROM managed m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
              AND NOT EXISTS (SELECT FROM managed m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = c.relnamespace))),
trigger AS (SELECT DISTINCT t.tgrelid FROM pg_trigger t JOIN observe o ON o.oid = t.tgfoid WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'),
bare AS (
    SELECT m.* FROM member m
    WHERE NOT EXISTS (SELECT FROM observer o WHERE o.indrelid = m.tbl AND o.indisvalid) AND m.tbl NOT IN (SELECT t.tgrelid FROM trigger t)),
lacking AS (
    SELECT m.root, m.is_root, count(*) AS tables, (array_agg(m.tbl::regclass::text ORDER BY m.tbl))[1:3] AS names,
           bool_or(EXISTS (SELECT FROM observer o WHERE o.indrelid = m.tbl)) AS is_invalid
    FROM bare m
    GROUP BY m.root, m.is_root),
-- What a CREATE INDEX or REINDEX CONCURRENTLY that failed has left. One that is at work now has such an index as well; which table
-- it works on is hidden where it is of another role.
left_over AS (
    SELECT o.indexrelid, o.indrelid FROM observer o
    WHERE NOT o.indisvalid AND o.relkind = 'i' AND NOT o.relispartition AND o.indrelid NOT IN (SELECT b.tbl FROM bare b)
      AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p JOIN pg_database d ON d.oid = p.datid
                      WHERE d.datname = current_database() AND (p.relid = o.indrelid OR p.relid IS NULL)))
SELECT 'observer indexes', 'error',
       CASE WHEN l.is_root THEN format('Rows inserted into %s are not observed: its index %s.', s.name, w.words)
            ELSE format('Rows inserted into %s%s, below %s, are not observed: the index there %s.', array_to_string(l.names, ', '),
                        CASE WHEN l.tables > 3 THEN format(' and %s others', l.tables - 3) END, s.name, w.words) END,
       s.attach || s.place
FROM lacking l JOIN source s ON s.tbl = l.root,
     LATERAL (SELECT CASE WHEN l.is_invalid THEN 'is not valid' ELSE 'is gone' END AS words) w
UNION ALL
SELECT 'observer indexes', 'error',
       format(CASE WHEN count(*) = 1 THEN '%s%s does not read what ip_source lists for %s.' ELSE '%s%s do not read what ip_source lists for %s.' END,
              array_to_string((array_agg(o.indexrelid::regclass::text ORDER BY o.indexrelid))[1:3], ', '),
              CASE WHEN count(*) > 3 THEN format(' and %s others', count(*) - 3) END, s.name), s.attach || s.place
FROM observer o JOIN family f ON f.tbl = o.indrelid JOIN source s ON s.tbl = f.root AND s.method = 'index'
     LEFT JOIN reading r ON r.indrelid = o.indrelid
WHERE o.indisvalid AND (f.tbl = f.root OR f.tbl NOT IN (SELECT other.tbl FROM source other))
  -- For the nearest attached table.
  AND NOT EXISTS (SELECT FROM family n JOIN family below ON below.root = f.root AND below.tbl = n.root WHERE n.tbl = f.tbl AND n.root <> f.root)
  AND (NOT o.selectors <@ s.ip_columns OR o.only_where IS DISTINCT FROM s.only_where OR o.sensor IS DISTINCT FROM s.sensor OR (o.observed_at IS NOT NULL) <> s.has_time
       OR NOT s.ip_columns <@ coalesce(r.columns, '{}'))
GROUP BY s.tbl, s.name, s.attach, s.place
UNION ALL
SELECT 'observer indexes', 'warning', format('%s has a trigger and the index %s: its rows are counted once, by the trigger.', o.indrelid::regclass, o.indexrelid::regclass),
       format('DROP INDEX %s;  -- %sor attach the table again with method => ''index''', o.indexrelid::regclass,
              CASE WHEN $3 AND o.indrelid = ANY ($1) THEN 'on the coordinator; ' END)
FROM observer o WHERE o.indrelid IN (SELECT t.tgrelid FROM trigger t) AND o.indrelid <> ALL ($2) AND NOT o.relispartition AND (o.indisvalid OR o.relkind = 'I')
UNION ALL
SELECT 'observer indexes', 'warning', format('%s is not valid: left by a CREATE INDEX or REINDEX CONCURRENTLY that failed.', l.indexrelid::regclass),
       format('DROP INDEX %s;', l.indexrelid::regclass)
FROM left_over l
UNION ALL
SELECT 'observer indexes', 'warning',
       format('The rows of %s%s are not stored as a heap: what INSERT ... ON CONFLICT and MERGE update there is counted as new.',
              array_to_string((array_agg(c.oid::regclass::text ORDER BY c.oid))[1:3], ', '), CASE WHEN count(*) > 3 THEN format(' and %s others', count(*) - 3) END),
       format('SELECT %s.attach_ip_source(%L, %L);  -- by trigger, with its other arguments', '@extschema@', s.name, s.ip_columns)
FROM member m JOIN source s ON s.tbl = m.root JOIN pg_class c ON c.oid = m.tbl JOIN pg_am a ON a.oid = c.relam
WHERE c.relkind = 'r' AND a.amhandler <> 'heap_tableam_handler'::regproc
GROUP BY s.tbl, s.name, s.ip_columns
UNION ALL
SELECT 'observer indexes', 'warning', format('%s has a trigger below the index of a partitioned table: its rows are counted once, by the index.', o.indrelid::regclass),
       format('SELECT %s.detach_ip_source(%L);', '@extschema@', o.indrelid::regclass::text)
FROM observer o WHERE o.indrelid IN (SELECT t.tgrelid FROM trigger t) AND o.relispartition AND o.relkind = 'i'
  AND NOT EXISTS (SELECT FROM family f JOIN family up ON up.root = f.root JOIN trigger t ON t.tgrelid = up.root WHERE f.tbl = o.indrelid AND up.root <> o.indrelid)
UNION ALL
-- Shards are observed whether or not their table is attached.
SELECT 'observer indexes', 'warning', format(CASE WHEN o.indrelid <> ALL ($1) THEN '%s observes nothing: %s is not attached.'
                                                  WHEN $3 THEN '%s observes the shards of %s, which is not noted on this node: its addresses are counted for no table.'
                                                  ELSE '%s observes the shards of %s, which is not attached: its addresses are counted for no table.' END,
                                             o.indexrelid::regclass, o.indrelid::regclass),
       format(CASE WHEN $3 AND o.indrelid = ANY ($1) THEN 'SELECT %s.attach_ip_source(%L, %L, %L, ''index''%s%s);  -- on the coordinator, again; or DROP INDEX %s;'
                   ELSE 'SELECT %s.attach_ip_source(%L, %L, %L, ''index''%s%s);  -- or DROP INDEX %s;' END, '@extschema@', o.indrelid::regclass::text,
              o.selectors, o.observed_at, CASE WHEN o.only_where IS NOT NULL THEN format(', only_where => %L', o.only_where) END,
              CASE WHEN o.sensor IS NOT NULL THEN format(', sensor => %L', o.sensor) END, o.indexrelid::regclass)
FROM observer o JOIN pg_class t ON t.oid = o.indrelid
-- Copies that last for a moment.
WHERE o.indrelid NOT IN (SELECT f.tbl FROM family f) AND o.indrelid <> ALL ($2) AND NOT o.relispartition AND (o.indisvalid OR o.relkind = 'I')
  AND t.relpersistence <> 't' AND t.relnamespace::regnamespace::text <> 'repack'
UNION ALL
-- An index keeps the names of its columns, and a dump has those of the table.
SELECT 'observer indexes', 'warning', format('Column %s of %s was renamed: its index reads it, but a dump of that cannot be restored.', string_agg(quote_ident(a.attname), ', '), s.name),
       -- Another column may have the old name now.
       CASE WHEN count(other.attnum) = 0 THEN string_agg(format('ALTER TABLE %s RENAME %I TO %I;', s.name, a.attname, n.attname), ' ') || '  -- or attach it again, with the new names'
            WHEN bool_or(x.indpred IS NOT NULL) THEN s.attach || '  -- ' || CASE s.place WHEN '' THEN '' ELSE 'on the coordinator; ' END || 'then make the index again that has a WHERE'
            ELSE s.attach || s.place END
FROM observer o JOIN source s ON s.tbl = o.indrelid JOIN pg_index x ON x.indexrelid = o.indexrelid
JOIN pg_attribute n ON n.attrelid = o.indexrelid JOIN pg_attribute a ON a.attrelid = o.indrelid AND a.attnum = x.indkey[n.attnum - 1]
LEFT JOIN pg_attribute other ON other.attrelid = o.indrelid AND other.attname = n.attname AND NOT other.attisdropped
WHERE a.attnum > 0 AND a.attname <> n.attname
GROUP BY s.name, s.attach, s.place, o.indexrelid
UNION ALL
SELECT 'observer indexes', 'warning', format('Rows that a subscription brings into %s are not observed.', s.name),
       format('%s SELECT %s.populate_ip_inventory(%L);%s', s.attach, '@extschema@', s.name, s.place)
FROM source s
WHERE s.method = 'index'
  AND EXISTS (SELECT FROM family f JOIN pg_subscription_rel r ON r.srrelid = f.tbl WHERE f.root = s.tbl)
  AND EXISTS (SELECT FROM family f JOIN observer o ON o.indrelid = f.tbl WHERE f.root = s.tbl AND NOT o.replica)
