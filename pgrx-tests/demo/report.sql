-- The results. Try these in your own session.
\pset footer off
\pset null '-'
\set QUIET on
\set ECHO none

\echo
\echo 'The busiest addresses: SELECT … FROM ip_inventory ORDER BY observation_count DESC'
SELECT ip_address, observation_count AS seen, country_code AS cc, city, asn_number AS asn,
       left(asn_org, 28) AS organization, to_char(last_seen_at, 'MM-DD HH24:MI') AS last_seen
FROM ip_inventory
ORDER BY observation_count DESC, ip_address
LIMIT 12;

\echo 'Top networks: asn_inventory. Registry and date of the registration are from Team Cymru (a fake here)'
SELECT asn_number AS asn, left(asn_org, 38) AS organization, registry, allocated, ip_count AS addresses,
       observation_count AS seen
FROM asn_inventory
WHERE ip_count > 0
ORDER BY observation_count DESC, asn_number
LIMIT 8;

\echo 'MaxMind''s files know no ASN for these; Team Cymru (a fake here) filled the gap: asn_source is cymru'
SELECT ip_address, observation_count AS seen, country_code AS cc, network, asn_number AS asn, asn_org AS organization
FROM ip_inventory
WHERE asn_source = 'cymru'
ORDER BY observation_count DESC, ip_address
LIMIT 8;

\echo 'Who scans the internet, and who is a common service (riot): GreyNoise (a fake here)'
(SELECT ip_address, observation_count AS seen, scanner_noise AS noise, scanner_riot AS riot,
        scanner_classification AS class, scanner_name AS name, scanner_last_seen::date AS last_seen
 FROM ip_inventory WHERE scanner_noise AND scanner_classification <> 'benign'
 ORDER BY observation_count DESC, ip_address LIMIT 5)
UNION ALL
(SELECT ip_address, observation_count, scanner_noise, scanner_riot, scanner_classification, scanner_name,
        scanner_last_seen::date
 FROM ip_inventory WHERE scanner_noise AND scanner_classification = 'benign'
 ORDER BY observation_count DESC, ip_address LIMIT 3)
UNION ALL
(SELECT ip_address, observation_count, scanner_noise, scanner_riot, scanner_classification, scanner_name,
        scanner_last_seen::date
 FROM ip_inventory WHERE scanner_riot AND NOT scanner_noise ORDER BY observation_count DESC, ip_address LIMIT 3);

\echo 'Lists of networks: the ranges of clouds, and a made-up blocklist'
SELECT list, addresses, observations AS seen FROM top_lists;

\echo 'Top countries'
SELECT country_code AS cc, count(*) AS addresses, sum(observation_count) AS seen,
       repeat('#', (40 * sum(observation_count) / max(sum(observation_count)) OVER ())::int) AS " "
FROM ip_inventory
WHERE country_code IS NOT NULL
GROUP BY 1
ORDER BY seen DESC, cc
LIMIT 8;

\echo 'Events joined with the inventory: whose logins succeeded?'
SELECT i.country_code AS cc, left(i.asn_org, 32) AS organization, count(*) AS logins,
       mode() WITHIN GROUP (ORDER BY e.payload->>'username') AS favourite_user
FROM raw_events e JOIN ip_inventory i ON host(i.ip_address) = e.payload->>'src_ip'
WHERE e.payload->>'eventid' = 'cowrie.login.success'
GROUP BY 1, 2
ORDER BY logins DESC, cc, organization
LIMIT 6;

\echo 'Coverage'
SELECT count(*) AS addresses,
       count(*) FILTER (WHERE ip_class = 'public') AS public,
       count(*) FILTER (WHERE ip_class <> 'public') AS special_purpose,
       round(100.0 * count(country_code) / nullif(count(*) FILTER (WHERE ip_class = 'public'), 0)) || ' %' AS with_country,
       round(100.0 * count(asn_number) / nullif(count(*) FILTER (WHERE ip_class = 'public'), 0)) || ' %' AS with_asn
FROM ip_inventory;

\echo 'Coverage by source, in addresses: each source has a status of its own'
SELECT s.source, count(*) FILTER (WHERE s.status = 'found') AS found,
       count(*) FILTER (WHERE s.status = 'not_found') AS not_found,
       count(*) FILTER (WHERE s.status = 'skipped') AS skipped,
       count(*) FILTER (WHERE s.status NOT IN ('found', 'not_found', 'skipped')) AS open,
       count(*) FILTER (WHERE i.asn_source = s.source) AS gave_asn
FROM ip_inventory i, LATERAL (VALUES (1, 'maxmind', maxmind_status), (2, 'cymru', cymru_status),
     (3, 'greynoise', greynoise_status)) s(n, source, status)
GROUP BY s.n, s.source
ORDER BY s.n;

\echo 'How each source stands: source_status'
SELECT source, state, to_char(last_success_at, 'MM-DD HH24:MI:SS') AS last_success, requests, errors, last_error,
       quota_used, quota_left
FROM source_status;

\echo 'The files that answer: mmdb_editions()'
SELECT edition, database_type, build_time::date AS built, nodes, pg_size_pretty(size) AS size, refused
FROM mmdb_editions();

\echo 'Does it work, and how far is it: enrichment_status'
\x on
SELECT enabled, worker, last_absorb_at, absorbed, queued, observations, unparsable, oldest_build, refused
FROM enrichment_status;
\x off

\echo 'One address, asked directly and offline: lookup_ip(inet)'
SELECT ip, network, asn_number, asn_org, country_code, maxmind_status
FROM (VALUES (inet '8.8.8.8'), ('2a02:4780::17'), ('10.0.0.1')) AS asked(address), lookup_ip(address);
