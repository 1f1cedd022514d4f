-- Failures of the worker or a helper that are not resolved.
SELECT 'worker errors', CASE WHEN e.work LIKE 'writing single %' THEN 'warning' ELSE 'error' END,
       format('The worker fails at %s, since %s: %s.', e.work, e.since, e.last_error),
       CASE WHEN e.sqlstate = '53100' THEN 'df -h  # on the server: free disk space; the worker then continues by itself'
            WHEN e.sqlstate = '53200' THEN 'free -h  # on the server: free memory; the worker then continues by itself'
            WHEN e.work LIKE 'writing single %' AND e.sqlstate IN ('55P03', '40P01', '40001')
            THEN 'SELECT a.pid, a.usename, a.xact_start, a.query FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND l.granted AND l.mode IN (''RowShareLock'', ''RowExclusiveLock'') JOIN pg_class c ON c.oid = l.relation AND c.relname ~ ''^ip_inventory(_[0-9]+)?$'' WHERE a.datname = current_database() AND coalesce(a.backend_type, '''') NOT LIKE ''asn_inventory %'' ORDER BY a.xact_start;  -- a transaction that holds rows of ip_inventory: pg_terminate_backend() ends it'
            WHEN e.work LIKE 'writing single %'
            THEN 'SELECT address, attempts, retry_at FROM @extschema@.ip_observation WHERE attempts > 0;  -- then check your own constraints and triggers on ip_inventory'
            ELSE 'SELECT work, last_error_at, sqlstate, last_error FROM @extschema@.worker_errors();  -- and the server''s log' END
FROM @extschema@.worker_errors() e
