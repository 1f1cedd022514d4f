-- The worker's results at the network sources.
SELECT 'dns', 'error', format('DNS does not answer about addresses: %s. Tried again at %s.', last_error, retry_at),
       'dig +short TXT 8.8.8.8.origin.asn.cymru.com  # on the server; another resolver: asn_inventory.cymru_dns_servers'
FROM @extschema@._cymru_ways() WHERE way = 'dns' AND failing
UNION ALL
SELECT 'port 43', 'warning', format('Bulk sessions with Team Cymru fail, and DNS is asked instead, more slowly: %s. Tried again at %s.', last_error, retry_at),
       'nc -vz whois.cymru.com 43  # on the server; where it stays blocked: ALTER SYSTEM SET asn_inventory.cymru_bulk_min = 2147483647; SELECT pg_reload_conf();'
FROM @extschema@._cymru_ways() WHERE way = 'bulk' AND failing
