-- What came out. Try these in a session of your own.
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

\echo 'Top networks (ASN)'
SELECT asn_number AS asn, left(asn_org, 32) AS organization, count(*) AS addresses,
       sum(observation_count) AS seen
FROM ip_inventory
WHERE asn_number IS NOT NULL
GROUP BY 1, 2
ORDER BY seen DESC, asn
LIMIT 8;

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
