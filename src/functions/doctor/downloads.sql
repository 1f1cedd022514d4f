-- The result of the last look for newer files.
SELECT 'maxmind downloads', 'warning', r.detail,
       'SELECT @extschema@.update_maxmind(true);  -- after correcting the cause: asn_inventory.maxmind_license_key, the network, the account'
FROM (SELECT outcome, detail FROM @extschema@.enrichment_run WHERE kind = 'update' ORDER BY job_id DESC LIMIT 1) r
WHERE r.outcome = 'failed'
