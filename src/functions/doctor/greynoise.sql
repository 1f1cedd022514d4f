-- The state of GreyNoise.
SELECT 'greynoise', CASE state WHEN 'refused' THEN 'error' ELSE 'warning' END,
       CASE state
            WHEN 'refused' THEN format('GreyNoise refuses the key: %s.', last_error)
            WHEN 'quota' THEN format('The quota is spent until %s. The most observed addresses are asked about first then.', quota_reset_at)
            ELSE format('GreyNoise does not answer: %s. Tried again at %s.', last_error, retry_at) END,
       CASE state
            WHEN 'quota' THEN 'SELECT source, quota, quota_used, quota_reset_at FROM @extschema@.source_status WHERE source = ''greynoise'';  -- if GreyNoise reported it, pg_reload_conf() asks again now'
            WHEN 'failing' THEN 'curl -sSI https://api.greynoise.io/v3/community/8.8.8.8  # from the server'
            ELSE 'ALTER SYSTEM SET asn_inventory.greynoise_api_key = ''file:/etc/asn_inventory/greynoise.key''; SELECT pg_reload_conf();  -- or put a good key where the reference points to' END
FROM @extschema@.source_status WHERE source = 'greynoise' AND state IN ('refused', 'quota', 'failing')
