-- Whether there is a worker.
WITH worker AS (SELECT * FROM @extschema@._worker_status())
SELECT 'preload', 'error', 'asn_inventory is not in shared_preload_libraries: no worker runs.',
       -- Not every role may see the list, and an error here would hide the finding.
       CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
            THEN format('ALTER SYSTEM SET shared_preload_libraries = %s;  -- then restart the server',
                        array_to_string(array_remove(string_to_array(current_setting('shared_preload_libraries'), ','), '') || 'asn_inventory'::text, ', '))
            ELSE 'SHOW shared_preload_libraries;  -- as a superuser: add asn_inventory to that list, and restart the server' END
FROM worker WHERE worker = 'not preloaded'
UNION ALL
SELECT 'worker', 'error', 'No worker runs in this database: max_worker_processes may be used up, asn_inventory.databases names others, or 64 other databases of the server have the extension.',
       'SHOW max_worker_processes; SHOW asn_inventory.databases;  -- and the server''s log'
FROM worker WHERE worker = 'not running'
