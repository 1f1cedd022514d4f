-- The extension's own tables, functions and types, as they should be. Catalogs only, which all roles may read.
WITH extension AS (SELECT e.*, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'asn_inventory'),
member AS MATERIALIZED (SELECT d.classid, d.objid FROM extension e JOIN pg_depend d ON d.refobjid = e.oid
                        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
ours AS MATERIALIZED (SELECT c.* FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid),
-- Each with a column that no other has, which identifies it under another name.
known(name, mark) AS (VALUES ('ip_inventory', 'maxmind_status'), ('ip_observation', 'packed'), ('ip_source', 'observed_zone'), ('ip_source_part', 'attached_snapshot'),
    ('enrichment_run', 'requested_by'), ('cymru_prefix', 'announced'), ('asn_inventory', 'details_ts'), ('ip_asn_history', 'old_asn'),
    ('source_quota', 'closed_until'), ('maxmind_walk', 'walked_at'), ('inventory_count', 'cymru_due'), ('mmdb_shared', 'sha256'),
    ('mmdb_shared_part', 'data'), ('ip_sighting', 'source_id'), ('ip_sighting_source', 'left_out'),
    ('ip_activity', 'by_day'), ('ip_activity_count', 'kind')),
-- The extension's own triggers: their tables, the modes in which they do their work, and what follows without them.
own_trigger(tables, name, function, modes, enable, made, otherwise) AS (VALUES
    ('{ip_inventory}'::text[], 'record_asn_change', '_record_asn_change', '{A}'::text[], 'ENABLE ALWAYS',
     'AFTER UPDATE OF asn_number, country_code ON %s FOR EACH ROW WHEN (OLD.asn_number IS DISTINCT FROM NEW.asn_number AND (OLD.asn_number IS NOT NULL OR OLD.maxmind_status <> ''pending'') OR OLD.asn_number IS NOT NULL AND OLD.country_code IS NOT NULL AND OLD.country_code IS DISTINCT FROM NEW.country_code) EXECUTE FUNCTION %I._record_asn_change()',
     'changes of ASNs and countries are not recorded in ip_asn_history'),
    ('{ip_observation,ip_source,ip_source_part,enrichment_run,ip_asn_history,source_quota,maxmind_walk,inventory_count,mmdb_shared,mmdb_shared_part,ip_sighting_source,ip_activity,ip_activity_count}', 'asn_inventory_replicated', '_drop_replicated_row', '{R,A}', 'ENABLE REPLICA',
     'BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION %I._drop_replicated_row()',
     'rows that a subscription brings are added to this server''s own'),
    ('{ip_sighting}', 'asn_inventory_replicated', '_drop_replicated_row', '{R,A}', 'ENABLE REPLICA',
     'BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW WHEN (%3$I._is_replicated()) EXECUTE FUNCTION %3$I._drop_replicated_row()',
     'rows that a subscription brings are added to this server''s own'),
    ('{ip_inventory,asn_inventory,cymru_prefix}', 'asn_inventory_replicated', '_drop_replicated_row', '{R,A}', 'ENABLE REPLICA',
     'BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION %I._drop_replicated_row(''known'')',
     'a row that a subscription brings stops it if this server has one of that key'),
    ('{ip_inventory,ip_observation,ip_source,enrichment_run,asn_inventory,cymru_prefix,ip_asn_history,source_quota,ip_sighting,ip_sighting_source,ip_activity,ip_activity_count}', 'asn_inventory_restore', '_note_restore', '{O}', 'ENABLE',
     'BEFORE INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION %I._note_restore()',
     'the worker does not wait while a dump is restored into the table'),
    ('{ip_inventory}', 'asn_inventory_uncounted', '_note_uncounted', '{A}', 'ENABLE ALWAYS',
     'AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION %I._note_uncounted()',
     'the inventory is not counted again after a session with track_counts = off wrote it')),
-- What rows of the others are found by when they are written.
own_key(name, columns, made) AS (VALUES ('ip_sighting', '{ip_address,source_id}'::text[], 'PRIMARY KEY'), ('ip_sighting_source', '{id}', 'PRIMARY KEY'),
    ('ip_sighting_source', '{tbl,sensor}', 'UNIQUE'), ('ip_activity_count', '{by_day,kind,bucket,value}', 'PRIMARY KEY'),
    ('asn_inventory', '{asn_number}', 'PRIMARY KEY'), ('cymru_prefix', '{prefix}', 'PRIMARY KEY'), ('source_quota', '{source}', 'PRIMARY KEY')),
inventory AS (SELECT c.oid, a.attnum FROM extension e JOIN ours c ON c.relname = 'ip_inventory' AND c.relkind = 'r' AND c.relnamespace = e.extnamespace
              LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'ip_address' AND NOT a.attisdropped)
SELECT 'own tables', 'error', format('%s is missing: %s.', k.name,
              CASE WHEN c.oid IS NULL THEN 'it was dropped, and everything that needs it fails' ELSE format('it is %s now, and everything that needs it fails', c.oid::regclass) END),
       CASE WHEN c.oid IS NULL THEN 'DROP EXTENSION asn_inventory; CREATE EXTENSION asn_inventory;  -- after saving ip_inventory; then attach the tables again'
            ELSE concat(CASE WHEN c.relname <> k.name THEN format('ALTER TABLE %s RENAME TO %I; ', c.oid::regclass, k.name) END,
                        CASE WHEN c.relnamespace <> e.extnamespace
                             THEN format('ALTER TABLE %s.%I SET SCHEMA %I;', c.relnamespace::regnamespace, k.name, e.nspname) END) END
FROM extension e CROSS JOIN known k
LEFT JOIN LATERAL (SELECT o.* FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid AND a.attname = k.mark AND NOT a.attisdropped
                   WHERE o.relkind = 'r' ORDER BY o.relname = k.name DESC LIMIT 1) c ON true
WHERE (c.oid IS NULL OR c.relname <> k.name OR c.relnamespace <> e.extnamespace)
  AND NOT (e.extversion IN ('0.1.0', '0.2.0') AND k.name LIKE ANY ('{ip\_sighting%,ip\_activity%}'))
UNION ALL
SELECT 'own tables', 'warning', format('The schema of the extension is called %I now: PostgreSQL creates no such extension in a schema with a quote, a dollar sign or a backslash in its name, so a dump of this database cannot be restored.', e.nspname),
       format('ALTER SCHEMA %I RENAME TO %I;', e.nspname, coalesce(nullif(translate(e.nspname, '"$''' || chr(92), ''), ''), 'enrichment'))
FROM extension e WHERE translate(e.nspname, '"$''' || chr(92), '') <> e.nspname
UNION ALL
-- One row a table. Before the update from 0.1.0 most of them do not exist yet. Citus runs the triggers of a distributed
-- table on its shards.
SELECT 'own triggers', 'error',
       string_agg(format('Trigger %I on %s %s: %s.', coalesce(t.tgname, w.name), c.oid::regclass,
                         CASE t.tgenabled WHEN 'D' THEN 'is disabled' WHEN 'R' THEN 'fires only for replication' WHEN 'A' THEN 'fires for the worker as well'
                                          WHEN 'O' THEN 'fires in ordinary sessions only' ELSE 'is missing' END, w.otherwise), ' ' ORDER BY w.name),
       string_agg(CASE WHEN t.tgname IS NULL THEN format('CREATE TRIGGER %I ' || w.made || '; ', w.name, c.oid::regclass, e.nspname) ELSE '' END
                  || CASE WHEN t.tgname IS NULL AND w.enable = 'ENABLE' THEN ''
                          ELSE format('ALTER TABLE %s %s TRIGGER %I;', c.oid::regclass, w.enable, coalesce(t.tgname, w.name)) END, ' ' ORDER BY w.name)
FROM extension e CROSS JOIN own_trigger w
JOIN ours c ON c.relname = ANY (w.tables) AND c.relkind = 'r' AND c.relnamespace = e.extnamespace
LEFT JOIN LATERAL (SELECT g.tgname, g.tgenabled FROM pg_trigger g
                   WHERE g.tgrelid = c.oid AND g.tgfoid = to_regprocedure(format('%I.%I()', e.nspname, w.function))
                   ORDER BY g.tgenabled::text = ANY (w.modes) DESC, g.tgname LIMIT 1) t ON true
WHERE coalesce(t.tgenabled::text <> ALL (w.modes), true)
  AND to_regprocedure(format('%I._note_uncounted()', e.nspname)) IS NOT NULL
  AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgfoid = to_regproc('pg_catalog.citus_truncate_trigger'))
GROUP BY c.oid
UNION ALL
SELECT 'inventory key', 'error',
       CASE WHEN k.oid IS NULL THEN 'ip_inventory has no primary key: nothing can be absorbed, and observations wait.'
            WHEN k.on_address AND NOT k.condeferrable THEN format('The index of ip_inventory''s primary key, %s, is not valid: nothing can be absorbed, and observations wait.', k.indexrelid::regclass)
            ELSE format('The primary key of ip_inventory, %s, must be on ip_address alone and not deferrable. Observations wait.', k.conname) END,
       CASE WHEN k.oid IS NULL THEN format('ALTER TABLE %s ADD PRIMARY KEY (ip_address);  -- first delete duplicate addresses', i.oid::regclass)
            WHEN k.on_address AND NOT k.condeferrable THEN format('REINDEX INDEX %s;', k.indexrelid::regclass)
            ELSE format('ALTER TABLE %s DROP CONSTRAINT %I; ALTER TABLE %1$s ADD PRIMARY KEY (ip_address);', i.oid::regclass, k.conname) END
FROM inventory i
LEFT JOIN LATERAL (SELECT n.oid, n.conname, n.condeferrable, x.indexrelid, x.indisvalid AND x.indisready AND x.indislive AS is_usable,
                          n.conkey = ARRAY[i.attnum] AS on_address
                   FROM pg_constraint n JOIN pg_index x ON x.indexrelid = n.conindid WHERE n.conrelid = i.oid AND n.contype = 'p') k ON true
WHERE NOT coalesce(k.is_usable AND k.on_address AND NOT k.condeferrable, false)
UNION ALL
SELECT 'own keys', 'error', format('%s has no usable key on (%s): the worker cannot write there.', c.oid::regclass, array_to_string(k.columns, ', ')),
       format('ALTER TABLE %s ADD %s (%s);  -- first delete duplicate rows', c.oid::regclass,
              CASE WHEN EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = c.oid AND n.contype = 'p') THEN 'UNIQUE' ELSE k.made END, array_to_string(k.columns, ', '))
FROM own_key k JOIN ours c ON c.relname = k.name AND c.relkind = 'r'
WHERE NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indisready AND x.indislive AND x.indimmediate AND x.indpred IS NULL
    AND (SELECT count(*) FILTER (WHERE a.attname = ANY (k.columns)) = cardinality(k.columns) AND x.indnkeyatts = cardinality(k.columns)
         FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1])))
UNION ALL
SELECT 'queue index', 'error', format('Index %s on ip_observation does not contain observed rows: they are appended without it, so queries and constraints that use it are wrong.', x.indexrelid::regclass),
       CASE WHEN n.oid IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT %I;', c.oid::regclass, n.conname) ELSE format('DROP INDEX %s;', x.indexrelid::regclass) END
FROM ours c JOIN pg_index x ON x.indrelid = c.oid LEFT JOIN pg_constraint n ON n.conindid = x.indexrelid AND n.conrelid = c.oid
WHERE c.relname = 'ip_observation'
UNION ALL
SELECT 'grants', 'warning', format('%s may %s %s%s.', CASE g.grantee WHEN 0 THEN 'Everybody' ELSE pg_get_userbyid(g.grantee) END,
              lower(g.privilege_type), quote_ident(g.part) || ' of ', g.object),
       -- Without the column it would take all columns away.
       format('REVOKE %s%s ON %s FROM %s;', g.privilege_type, ' (' || quote_ident(g.part) || ')', g.object,
              CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
FROM (SELECT c.oid::regclass::text AS object, c.relname AS name, NULL::name AS part, a.privilege_type, a.grantee
      FROM ours c, aclexplode(c.relacl) a WHERE a.grantee <> c.relowner
      UNION
      SELECT c.oid::regclass::text, c.relname, t.attname, a.privilege_type, a.grantee
      FROM ours c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a WHERE a.grantee <> c.relowner
      UNION
      SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END || p.oid::regprocedure, p.proname, NULL, a.privilege_type, a.grantee
      FROM member m JOIN pg_proc p ON p.oid = m.objid, aclexplode(p.proacl) a
      WHERE m.classid = 'pg_proc'::regclass AND a.grantee = 0
        AND p.proname NOT IN ('ip_class', 'lookup_ip', 'ip_asn', 'ip_asn_org', 'ip_country', 'ip_city', 'ip_lists', 'mmdb_record', 'ip_parse', 'ip_extract', 'ip_extract_array', '_is_replicated')
      UNION
      SELECT 'TYPE ' || y.oid::regtype, y.typname, NULL, a.privilege_type, a.grantee
      FROM member m JOIN pg_type y ON y.oid = m.objid, aclexplode(y.typacl) a WHERE m.classid = 'pg_type'::regclass AND a.grantee NOT IN (0, y.typowner)) g
WHERE NOT (g.grantee <> 0 AND (g.privilege_type IN ('SELECT', 'USAGE') AND g.name <> 'ip_observation'
           OR g.name = 'ip_inventory' AND g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')
           OR g.name IN ('ip_asn_history', 'cymru_prefix', 'enrichment_run') AND g.privilege_type = 'DELETE'
           OR g.name = 'ip_asn_history' AND g.privilege_type = 'UPDATE'
           -- What purge_expired_maxmind() clears.
           OR g.name = 'asn_inventory' AND g.privilege_type = 'UPDATE' AND g.part IS NOT DISTINCT FROM 'asn_org'))
UNION ALL
SELECT 'owners', CASE WHEN o.kind IN ('FUNCTION', 'PROCEDURE', 'EVENT TRIGGER', 'VIEW') THEN 'error' ELSE 'warning' END,
       format(CASE WHEN o.kind IN ('FUNCTION', 'PROCEDURE', 'EVENT TRIGGER', 'VIEW')
                   THEN '%s belongs to %s, the extension to %s: %2$s controls the code that its users run.'
                   ELSE '%s belongs to %s, the extension to %s: triggers and rules on it run with the rights of %2$s.' END,
              o.object, pg_get_userbyid(o.owner), pg_get_userbyid(e.extowner)),
       format('ALTER %s %s OWNER TO %I;', o.kind, o.object, pg_get_userbyid(e.extowner))
FROM (SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS object, c.relowner AS owner
      FROM ours c WHERE c.relkind <> 'c'
      UNION ALL
      SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, p.oid::regprocedure::text, p.proowner
      FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
      UNION ALL
      SELECT 'TYPE', t.oid::regtype::text, t.typowner
      FROM member m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
      -- PostgreSQL 18 names the row types of tables and their arrays as well; they follow their table.
      WHERE t.typtype <> 'c' AND t.typelem = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')
      UNION ALL
      SELECT 'EVENT TRIGGER', quote_ident(t.evtname), t.evtowner
      FROM member m JOIN pg_event_trigger t ON m.classid = 'pg_event_trigger'::regclass AND t.oid = m.objid) o
CROSS JOIN extension e WHERE o.owner <> e.extowner
UNION ALL
SELECT 'foreign code', 'warning', format('%s on %s is not the extension''s own. %s', f.what, f.object,
              CASE WHEN f.queried THEN 'It runs when the worker writes, as the table''s owner; and where anybody queries the table, with the rights of that role.'
                   WHEN f.always THEN 'It runs when the worker writes, as the table''s owner.' ELSE 'It does nothing when the worker writes.' END),
       f.remedy
FROM (SELECT format('Trigger %I', t.tgname) AS what, c.oid::regclass AS object, t.tgenabled IN ('A', 'R') AS always,
             format('DROP TRIGGER %I ON %s;', t.tgname, c.oid::regclass) AS remedy, false AS queried
      FROM ours c JOIN pg_trigger t ON t.tgrelid = c.oid
      WHERE NOT t.tgisinternal AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = t.tgfoid)
      UNION ALL
      SELECT format('Rule %I', r.rulename), c.oid::regclass, r.ev_enabled IN ('A', 'R'),
             format('DROP RULE %I ON %s;', r.rulename, c.oid::regclass), false
      FROM ours c JOIN pg_rewrite r ON r.ev_class = c.oid WHERE NOT (c.relkind = 'v' AND r.rulename = '_RETURN')
      UNION ALL
      SELECT format('Policy %I', p.polname), c.oid::regclass, false,
             format('DROP POLICY %I ON %s;', p.polname, c.oid::regclass), false
      FROM ours c JOIN pg_policy p ON p.polrelid = c.oid
      UNION ALL
      SELECT format('The child table %s', i.inhrelid::regclass), c.oid::regclass, false,
             format('ALTER TABLE %s NO INHERIT %s;  -- nothing is written until then', i.inhrelid::regclass, c.oid::regclass), false
      FROM ours c JOIN pg_inherits i ON i.inhparent = c.oid WHERE c.relkind = 'r'
      UNION ALL
      SELECT format('Index %I', x.relname), c.oid::regclass, true,
             CASE WHEN n.oid IS NULL THEN format('DROP INDEX %s;', x.oid::regclass) ELSE format('ALTER TABLE %s DROP CONSTRAINT %I;', c.oid::regclass, n.conname) END, true
      FROM ours c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid
      LEFT JOIN pg_constraint n ON n.conindid = i.indexrelid AND n.conrelid = c.oid
      WHERE c.relname <> 'ip_observation' AND i.indexprs IS NOT NULL
         -- A predicate of the system's functions alone runs nobody's code, but for satisfies_hash_partition.
         OR i.indpred::text ~ ':funcid 5028\M'
         OR i.indpred IS NOT NULL AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid >= 16384
                                                AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass)
                                                AND NOT EXISTS (SELECT FROM member m WHERE m.classid = d.refclassid AND m.objid = d.refobjid))) f
UNION ALL
-- PostgreSQL may prefer it where somebody calls ours.
SELECT 'foreign code', 'warning', format('%s %s of %s is not the extension''s, and has the name of one that is.', CASE p.prokind WHEN 'p' THEN 'Procedure' ELSE 'Function' END,
              p.oid::regprocedure, pg_get_userbyid(p.proowner)),
       format('DROP ROUTINE %s;', p.oid::regprocedure)
FROM extension e JOIN pg_proc p ON p.pronamespace = e.extnamespace AND p.proowner <> e.extowner
WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
  AND EXISTS (SELECT FROM member m JOIN pg_proc o ON m.classid = 'pg_proc'::regclass AND o.oid = m.objid WHERE o.proname = p.proname)
