-- Sessions that hold, or wait for, a lock that blocks the worker. Catalogs only. $1 is the worker's process, $2 the time since
-- which it has been blocked (null: it is not), $3 the processes and $4 the prepared transactions for which it was seen to wait,
-- $5 the processes for whose restore it waits.
WITH extension AS (SELECT oid FROM pg_extension WHERE extname = 'asn_inventory'),
ours AS MATERIALIZED (SELECT c.oid, c.relname FROM extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
                      JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid WHERE c.relkind = 'r'),
held AS (
    SELECT l.pid, l.virtualtransaction, l.granted, l.mode, l.waitstart, o.relname,
           l.locktype = 'object' AND l.classid = 'pg_extension'::regclass AND l.objid = (SELECT oid FROM extension)
                   AND (l.objsubid IN (1, 3) AND l.mode = 'ExclusiveLock' AND l.granted OR l.objsubid = 0 AND l.mode = 'AccessExclusiveLock')
               OR l.locktype = 'relation' AND o.oid IS NOT NULL AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') AS stops,
           -- SELECT … FOR UPDATE, and writers of tables that only the worker writes: they lock rows. Counts of ip_source
           -- with a locked row, such as by a populate, are added later.
           l.locktype = 'relation' AND l.granted AND (o.relname <> 'ip_source' AND l.mode = 'RowShareLock'
               OR o.relname IN ('source_quota', 'inventory_count', 'maxmind_walk', 'asn_inventory', 'ip_activity_count') AND l.mode = 'RowExclusiveLock') AS rows
    FROM pg_locks l LEFT JOIN ours o ON l.locktype = 'relation' AND o.oid = l.relation
    WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.pid IS DISTINCT FROM $1),
prepared AS MATERIALIZED (
    SELECT t.virtualtransaction, p.gid, p.prepared FROM pg_prepared_xacts p JOIN pg_locks t ON p.transaction = t.transactionid
    WHERE t.locktype = 'transactionid' AND t.pid IS NULL),
holder AS (
    SELECT h.pid, x.gid, CASE WHEN h.stops THEN 1 ELSE 3 END AS weight, coalesce(h.waitstart, a.xact_start, x.prepared) AS since,
           CASE WHEN h.stops THEN format('%s a lock, %s, on what the worker needs', CASE WHEN h.granted THEN 'holds' ELSE 'waits for' END, h.mode)
                ELSE format('locks rows of %s that the worker may need', h.relname) END AS what
    FROM held h LEFT JOIN pg_stat_activity a ON a.pid = h.pid LEFT JOIN prepared x ON h.pid IS NULL AND x.virtualtransaction = h.virtualtransaction
    WHERE (h.stops OR h.rows) AND coalesce(a.backend_type, '') NOT LIKE 'asn_inventory %'
    UNION ALL
    SELECT u.pid, NULL, 2, $2, 'holds what the worker waits for, and nothing is absorbed' FROM unnest($3::integer[]) u(pid)
    UNION ALL
    SELECT NULL, u.gid, 2, $2, 'holds what the worker waits for, and nothing is absorbed' FROM unnest($4::text[]) u(gid)
    UNION ALL
    SELECT u.pid, NULL, 0, coalesce(a.xact_start, a.query_start), 'restores a dump of the extension''s tables, and the worker waits for its end'
    FROM unnest($5::integer[]) u(pid) LEFT JOIN pg_stat_activity a ON a.pid = u.pid)
SELECT 'locks', 'warning', format('%s %s%s.',
              coalesce('Process ' || h.pid || coalesce(' (' || a.usename || ')', ''), 'The prepared transaction ' || quote_literal(h.gid), 'A prepared transaction'),
              h.what, coalesce(', since ' || h.since, '')),
       CASE WHEN h.weight = 0 THEN format('SELECT state, query FROM pg_stat_activity WHERE pid = %s;  -- the worker goes on when that is through', h.pid)
            WHEN h.pid IS NOT NULL THEN format('SELECT pg_terminate_backend(%s);', h.pid)
            WHEN h.gid IS NOT NULL THEN format('ROLLBACK PREPARED %L;', h.gid) ELSE 'SELECT gid FROM pg_prepared_xacts;' END
FROM (SELECT DISTINCT ON (pid, gid) * FROM holder
      -- A role that may not see the times of other sessions sees their locks while nothing is absorbed.
      WHERE weight = 0 OR coalesce(since, CASE WHEN pid IS NULL THEN '-infinity'::timestamptz ELSE $2 END) < clock_timestamp() - interval '5 seconds'
      ORDER BY pid, gid, weight, since) h
LEFT JOIN pg_stat_activity a ON a.pid = h.pid
