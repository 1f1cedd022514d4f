-- Attached tables: whether the rows inserted into each are really observed. $1: the tables that Citus distributes. Of a node of its
-- cluster that is not the coordinator, $2: its other tables, which the coordinator notes; $3: true. Nothing is attached there. $4: tables
-- of which not all columns are there by the names that ip_source has, $5: what attaches each.
WITH RECURSIVE
extension AS (SELECT e.oid, e.extnamespace FROM pg_extension e WHERE e.extname = 'asn_inventory'),
observe AS (SELECT p.oid FROM pg_proc p JOIN extension e ON p.pronamespace = e.extnamespace WHERE p.proname = 'observe_addresses' AND p.pronargs = 0),
source AS MATERIALIZED (
    SELECT s.tbl::oid AS tbl, s.tbl::text AS name, s.ip_columns, w.observed_at, s.attached_as, s.method, c.relkind, c.reltuples,
           -- In the catalog's form of a trigger's arguments: each is followed by a NUL.
           convert_to(coalesce(w.observed_at, ''), getdatabaseencoding()) || decode('00', 'hex')
               || (SELECT coalesce(string_agg(convert_to(u.c, getdatabaseencoding()) || decode('00', 'hex'), ''::bytea ORDER BY u.n), ''::bytea)
                   FROM unnest(s.ip_columns || ('where ' || w.only_where) || ('sensor: ' || w.sensor)) WITH ORDINALITY u(c, n) WHERE u.c IS NOT NULL) AS arguments,
           -- What follows the time in a call.
           concat(CASE WHEN s.method <> 'trigger' THEN format(', %L', s.method) END, w.only_argument) AS further, w.only_argument, w.rows_since_time,
           coalesce((SELECT m.call FROM unnest($4, $5) m(tbl, call) WHERE m.tbl = s.tbl::oid),
                    format('SELECT %s.attach_ip_source(%L, %L, %L%s%s);', '@extschema@', s.tbl::text, s.ip_columns, w.observed_at,
                           CASE WHEN s.method <> 'trigger' THEN format(', %L', s.method) END, w.only_argument)) AS attach
    FROM @extschema@.ip_source s LEFT JOIN pg_class c ON c.oid = s.tbl,
         -- Columns that are not there until the extension is updated.
         LATERAL (SELECT j.only_where, j.sensor, j.rows_since_time,
                         concat(CASE WHEN j.only_where IS NOT NULL THEN format(', only_where => %L', j.only_where) END,
                                CASE WHEN j.sensor IS NOT NULL THEN format(', sensor => %L', j.sensor) END) AS only_argument,
                         coalesce(j.observed_path, s.observed_at::text) || coalesce('@' || s.observed_zone, '') AS observed_at
                  FROM jsonb_to_record(to_jsonb(s)) AS j(only_where text, observed_path text, sensor text, rows_since_time bigint)) w),
family(root, tbl) AS (
    SELECT s.tbl, s.tbl FROM source s WHERE s.relkind IS NOT NULL
    UNION
    SELECT f.root, i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.tbl),
-- Rows that these route to a foreign partition would be refused with a trigger that reads: theirs reads nothing.
above_foreign(tbl) AS (
    SELECT i.inhparent FROM pg_foreign_table t JOIN pg_class c ON c.oid = t.ftrelid AND c.relispartition JOIN pg_inherits i ON i.inhrelid = t.ftrelid
    UNION
    SELECT i.inhparent FROM above_foreign a JOIN pg_inherits i ON i.inhrelid = a.tbl),
-- Tables that other extensions manage are left alone.
managed AS MATERIALIZED (
    SELECT d.classid, d.objid FROM pg_depend d, extension e
    WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid <> e.oid AND d.deptype = 'e' AND d.classid IN ('pg_class'::regclass, 'pg_namespace'::regclass)),
member AS MATERIALIZED (
    SELECT f.root, f.tbl, c.relkind FROM family f JOIN pg_class c ON c.oid = f.tbl
    WHERE c.relkind IN ('r', 'p')
      AND (f.tbl = f.root
           OR f.tbl NOT IN (SELECT s.tbl FROM source s)
              AND NOT EXISTS (SELECT FROM managed m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
              AND NOT EXISTS (SELECT FROM managed m WHERE m.classid = 'pg_namespace'::regclass AND m.objid = c.relnamespace))),
found AS MATERIALIZED (
    SELECT t.oid, t.tgrelid, t.tgparentid, t.tgname, t.tgargs, t.tgnargs, t.tgfoid = o.oid AS is_ours, t.tgenabled, t.tgtype, t.tgnewtable IS NULL AS is_blind,
           CASE WHEN t.tgfoid <> o.oid THEN 'taken'
                WHEN t.tgenabled = 'D' THEN 'disabled' WHEN t.tgenabled = 'R' THEN 'replica'
                WHEN t.tgqual IS NOT NULL THEN 'condition' END AS fault
    FROM pg_trigger t, observe o
    WHERE NOT t.tgisinternal AND (t.tgfoid = o.oid OR t.tgname = 'asn_inventory_observe')),
state AS MATERIALIZED (
    SELECT DISTINCT ON (x.tbl) x.* FROM (
        SELECT m.root, m.tbl, m.relkind, t.oid AS trigger, t.tgname,
               CASE WHEN t.oid IS NULL THEN 'gone'
                    WHEN t.fault IS NULL AND t.tgtype <> CASE s.method WHEN 'row' THEN 5 ELSE 4 END THEN 'altered'
                    WHEN t.fault IS NULL AND s.method = 'row' AND t.tgenabled <> 'A' THEN 'local'
                    WHEN t.fault IS NULL AND s.method <> 'row' AND t.is_blind AND m.tbl NOT IN (SELECT a.tbl FROM above_foreign a) THEN 'blind'
                    WHEN t.fault IS NULL AND t.tgargs <> s.arguments THEN 'arguments'
                    ELSE t.fault END AS fault
        FROM member m JOIN source s ON s.tbl = m.root AND s.method <> 'index' LEFT JOIN found t ON t.tgrelid = m.tbl) x
    ORDER BY x.tbl, x.fault IS NOT NULL, x.fault = 'taken', x.tgname = 'asn_inventory_observe' DESC),
-- A fault of a table, or of some that are below it.
faulty AS (
    SELECT f.root, f.tbl = f.root AS is_root, f.fault, count(*) AS tables, (array_agg(f.tbl::regclass::text ORDER BY f.tbl))[1:3] AS names,
           string_agg(format('ALTER TABLE %s%s ENABLE %sTRIGGER %I;', CASE f.relkind WHEN 'p' THEN 'ONLY ' END, f.tbl::regclass, CASE s.method WHEN 'row' THEN 'ALWAYS ' END, f.tgname), ' ' ORDER BY f.tbl)
               FILTER (WHERE f.fault IN ('disabled', 'replica', 'local')) AS enable,
           string_agg(format('ALTER TRIGGER %I ON %s RENAME TO %I; ', f.tgname, f.tbl::regclass, 'not_asn_inventory_' || f.trigger), '' ORDER BY f.tbl)
               FILTER (WHERE f.fault = 'taken') AS rename,
           string_agg(format('DROP TRIGGER %I ON %s; ', f.tgname, f.tbl::regclass), '' ORDER BY f.tbl)
               FILTER (WHERE f.fault <> 'taken' AND f.tgname <> 'asn_inventory_observe') AS remove,
           string_agg(format('SELECT %s.attach_ip_source(%L, %L, %L%s);', '@extschema@', f.tbl::regclass::text, s.ip_columns, s.observed_at, s.only_argument), ' ' ORDER BY f.tbl) AS singly
    FROM state f JOIN source s ON s.tbl = f.root WHERE f.fault IS NOT NULL
    GROUP BY f.root, f.tbl = f.root, f.fault)
SELECT 'triggers', 'error',
       CASE WHEN f.is_root THEN format('Rows inserted into %s are not observed: its trigger %s.', s.name, w.words)
            ELSE format('Rows inserted into %s%s by name, below %s, are not observed: the trigger there %s.', array_to_string(f.names, ', '),
                        CASE WHEN f.tables > 3 THEN format(' and %s others', f.tables - 3) END, s.name, w.words) END,
       CASE WHEN f.fault IN ('disabled', 'replica', 'local') AND f.tables <= 20 THEN f.enable
            ELSE concat(f.rename, f.remove,
                        CASE WHEN s.method = 'row' OR f.root NOT IN (SELECT a.tbl FROM above_foreign a) THEN s.attach
                             WHEN f.is_root THEN format('SELECT %s.detach_ip_source(%L);  -- it has a foreign partition: detach that, and attach the table again', '@extschema@', s.name)
                             ELSE f.singly END) END
       || CASE WHEN $3 AND f.root = ANY ($1) THEN '  -- on the coordinator' ELSE '' END
FROM faulty f JOIN source s ON s.tbl = f.root
JOIN (VALUES ('gone', 'is gone'), ('taken', 'is missing, and another trigger has its name'), ('disabled', 'is disabled'),
             ('replica', 'fires only for replication'), ('local', 'does not fire for rows from a subscription'), ('condition', 'has a WHEN condition'), ('altered', 'was altered'),
             ('blind', 'reads no rows'), ('arguments', 'reads other columns than ip_source lists')) w(fault, words) ON w.fault = f.fault
UNION ALL
SELECT 'triggers', 'error', format('Rows inserted into %s are counted %s times: it has as many triggers that read the same.', t.tgrelid::regclass, count(*)),
       (SELECT string_agg(format('DROP TRIGGER %I ON %s;', u.n, t.tgrelid::regclass), ' ')
        FROM unnest((array_agg(t.tgname::text ORDER BY t.is_inherited DESC, t.tgname = 'asn_inventory_observe' DESC, t.tgname))[greatest(count(*) FILTER (WHERE t.is_inherited), 1) + 1:]) u(n))
       || CASE WHEN $3 AND t.tgrelid = ANY ($1) THEN '  -- on the coordinator' ELSE '' END
-- Those that a partition has by the table above go with that one's, which has a finding of its own where it has several.
FROM (SELECT f.*, coalesce(up.tgrelid IN (SELECT m.tbl FROM member m), false) AS is_inherited FROM found f LEFT JOIN found up ON up.oid = f.tgparentid) t
WHERE t.is_ours AND t.tgenabled IN ('O', 'A') AND t.tgrelid IN (SELECT m.tbl FROM member m)
GROUP BY t.tgrelid, t.tgargs HAVING count(*) > 1 AND NOT bool_and(t.is_inherited)
UNION ALL
SELECT 'triggers', 'warning', format('%s has the trigger but is not %s: its addresses are observed, but counted for no table.', t.tgrelid::regclass,
              CASE WHEN $3 AND t.tgrelid = ANY ($1) THEN 'noted on this node' ELSE 'attached' END),
       format(CASE WHEN $3 AND t.tgrelid = ANY ($1) THEN 'SELECT %s.attach_ip_source(%L, %L, %L%s);  -- on the coordinator, again'
                   ELSE 'SELECT %s.attach_ip_source(%L, %L, %L%s);  -- or detach_ip_source(), if it is not to be observed' END, '@extschema@',
              t.tgrelid::regclass::text,
              (SELECT array_agg(convert_from(decode(a.part, 'escape'), getdatabaseencoding()) ORDER BY a.n) FROM unnest(p.parts[2:t.tgnargs]) WITH ORDINALITY a(part, n)
               WHERE NOT starts_with(a.part, 'where ') AND NOT starts_with(a.part, 'sensor: ')),
              nullif(convert_from(decode(p.parts[1], 'escape'), getdatabaseencoding()), ''),
              concat(CASE WHEN t.tgtype = 5 THEN ', ''row''' END,
                     (SELECT format(', only_where => %L', substr(convert_from(decode(a.part, 'escape'), getdatabaseencoding()), 7))
                      FROM unnest(p.parts[2:t.tgnargs]) a(part) WHERE starts_with(a.part, 'where ') LIMIT 1),
                     (SELECT format(', sensor => %L', substr(convert_from(decode(a.part, 'escape'), getdatabaseencoding()), 9))
                      FROM unnest(p.parts[2:t.tgnargs]) a(part) WHERE starts_with(a.part, 'sensor: ') LIMIT 1)))
FROM found t, LATERAL (SELECT string_to_array(encode(t.tgargs, 'escape'), chr(92) || '000') AS parts) p
WHERE t.is_ours AND t.tgname = 'asn_inventory_observe' AND t.tgenabled IN ('O', 'A') AND t.tgnargs > 1
  AND t.tgrelid <> ALL ($2)
  AND t.tgrelid NOT IN (SELECT f.tbl FROM family f)
  AND NOT EXISTS (SELECT FROM pg_inherits i JOIN found u ON u.tgrelid = i.inhparent AND u.is_ours WHERE i.inhrelid = t.tgrelid)
UNION ALL
SELECT 'triggers', 'warning',
       format('Rows that a subscription brings into %s%s are not observed.', array_to_string(f.names[1:3], ', '),
              CASE WHEN cardinality(f.names) > 3 THEN format(' and %s others', cardinality(f.names) - 3) END),
       format('SELECT %1$s.attach_ip_source(%2$L, %3$L, %4$L, %5$L%6$s); SELECT %1$s.populate_ip_inventory(%2$L);', '@extschema@', s.name, s.ip_columns, s.observed_at, 'row', s.only_argument)
FROM (SELECT f.root, array_agg(f.tbl::regclass::text ORDER BY f.tbl) AS names
      FROM family f JOIN (SELECT DISTINCT r.srrelid FROM pg_subscription_rel r) r ON r.srrelid = f.tbl GROUP BY f.root) f
JOIN source s ON s.tbl = f.root
WHERE s.method = 'trigger'
UNION ALL
SELECT 'swapped tables', 'error',
       format('Rows inserted into %s are not observed: it is not the table that was attached under that name, which is %s.', n.now::regclass,
              CASE WHEN n.relkind IS NULL THEN 'gone' ELSE n.name || ' now' END),
       format('SELECT %s.attach_ip_source(%L, %L, %L%s);%s', '@extschema@', n.now::regclass::text, n.ip_columns, n.observed_at, n.further,
              CASE WHEN $3 AND n.now = ANY ($1) THEN '  -- on the coordinator' END)
FROM (SELECT DISTINCT ON (c.oid) c.oid AS now, s.*
      FROM source s JOIN pg_namespace p ON p.nspname = (parse_ident(s.attached_as))[1]
      JOIN pg_class c ON c.relnamespace = p.oid AND c.relname = (parse_ident(s.attached_as))[2]
      WHERE c.oid <> s.tbl AND c.relkind IN ('r', 'p')
        AND NOT EXISTS (SELECT FROM found t WHERE t.tgrelid = c.oid AND t.is_ours AND t.tgenabled IN ('O', 'A'))
        AND c.oid NOT IN (SELECT f.tbl FROM family f) AND c.oid <> ALL ($2)
      ORDER BY c.oid, s.relkind IS NULL) n
UNION ALL
SELECT 'index', 'warning', format('%s has no index on %s: finding the events of an address reads the whole table.', s.name, a.attname),
       format(CASE s.relkind WHEN 'p' THEN 'CREATE INDEX ON %s (%I);  -- blocks inserts meanwhile'
                             ELSE 'CREATE INDEX CONCURRENTLY ON %s (%I);' END, s.name, a.attname)
FROM source s JOIN pg_attribute a ON a.attrelid = s.tbl AND a.attname = ANY (s.ip_columns) AND a.atttypid = 'inet'::regtype
WHERE s.reltuples > 1000000
  AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = s.tbl AND x.indkey[0] = a.attnum AND x.indisvalid AND x.indpred IS NULL)
UNION ALL
-- What should stand in rows, and does not.
SELECT x.check_name, 'warning', x.detail,
       -- Where the inventory is distributed, nothing is taken back, and what was counted would be counted again.
       format(CASE WHEN h.is_by_hand THEN '-- make the index that observes %2$s anew: %8$s'
                   WHEN c.oid = ANY ($1) OR i.is_distributed AND s.observations > 0
                   THEN 'SELECT %1$s.detach_ip_source(%2$L); SELECT %1$s.attach_ip_source(%2$L, %3$L, %4$L%5$s);  -- %6$s%8$s'
                   ELSE 'SELECT %1$s.%7$s(%2$L); SELECT %1$s.attach_ip_source(%2$L, %3$L, %4$L%5$s); SELECT %1$s.populate_ip_inventory(%2$L);  -- %8$s' END,
              '@extschema@', s.tbl::text, s.ip_columns, w.observed_at, w.further, CASE WHEN $3 AND c.oid = ANY ($1) THEN 'on the coordinator; ' END,
              CASE WHEN i.is_distributed THEN 'detach_ip_source' ELSE 'forget_ip_source' END, x.cure)
FROM (SELECT coalesce(to_regclass('@extschema@.ip_inventory')::oid = ANY ($1), false) AS is_distributed) i CROSS JOIN @extschema@.ip_source s JOIN source w ON w.tbl = s.tbl JOIN pg_class c ON c.oid = s.tbl
CROSS JOIN LATERAL (
    -- No call makes such indexes, and one that takes them off would find nothing to attach the table by.
    SELECT count(*) > 1 OR bool_or(x.indpred IS NOT NULL OR x.indexprs IS NOT NULL) AS is_by_hand
    FROM pg_index x JOIN pg_class o ON o.oid = x.indexrelid JOIN pg_am a ON a.oid = o.relam
    WHERE a.amname = 'ip_observer' AND x.indrelid = s.tbl) h
CROSS JOIN LATERAL (
    SELECT 'addresses',
           format(CASE WHEN s.observations = 0 THEN '%s is attached, but none of its %s rows held an address%s.'
                       ELSE '%s is attached, and its last %s rows held no address%s.' END,
                  s.tbl, s.rows_since_address, coalesce(': ' || s.unreadable_reason, '')),
           'replace these by the columns or JSON paths that hold addresses'
    -- A long silence is one that is far longer than the silences between addresses were so far.
    WHERE s.observations = 0 AND s.rows_since_address > 0
       OR s.rows_since_address > 1000 + 10.0 * s.rows_seen / greatest(s.observations, 1)
    UNION ALL
    SELECT 'times',
           format('Nearly none of the last %s rows of %s had a time that could be read, and the time of the insert stands in%s.',
                  w.rows_since_time, s.tbl, coalesce(': ' || substring(s.unreadable_reason, '^observed_at: (.*)$'), '')),
           concat('replace observed_at by the column or JSON path that holds the time',
                  ', or, where these times are right, set asn_inventory.' || substring(s.unreadable_reason, '^observed_at: .*asn_inventory.(event_time_[a-z]+) ') || ' first')
    -- None so far; or far more in a row than where only some events have a time.
    WHERE w.rows_since_time >= 10 AND w.rows_since_time >= s.observations
       OR w.rows_since_time >= greatest(100, least(1000, 20.0 * s.rows_seen / greatest(s.rows_seen - s.unparsable, 1)))) x(check_name, detail, cure)
