-- Whether the references of keys resolve.
SELECT 'key ' || split_part(r.setting, '_', 1), CASE r.state WHEN 'fails' THEN 'error' WHEN 'missing' THEN 'warning' WHEN 'late' THEN 'warning' ELSE 'ok' END,
       format('asn_inventory.%s: %s%s', r.setting, r.detail,
              CASE WHEN r.state IN ('unset', 'none', 'missing') THEN CASE r.setting WHEN 'maxmind_license_key' THEN '; no file is downloaded'
                                                          ELSE '; GreyNoise is asked only if asn_inventory.greynoise is on' END ELSE '' END),
       CASE WHEN r.state IN ('fails', 'missing')
            THEN format('ALTER SYSTEM SET asn_inventory.%s = ''file:/etc/asn_inventory/%s.key''; SELECT pg_reload_conf();  -- or correct the cause', r.setting, split_part(r.setting, '_', 1))
            WHEN r.state = 'late'
            THEN 'SELECT pid, state, query, wait_event FROM pg_catalog.pg_stat_activity WHERE backend_type = ''asn_inventory worker'';  -- at long work, or see the check worker' END
FROM @extschema@._worker_status() worker, @extschema@.secret_references() r WHERE worker.worker = 'running'
