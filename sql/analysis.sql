-- Views for the questions that people ask of an inventory. Those on asn_inventory and ip_asn_history read small tables;
-- those on ip_inventory say in their comment that they read all of it.
CREATE VIEW @extschema@.top_networks AS
SELECT a.asn_number, a.asn_org, a.country_code, a.ip_count AS addresses, a.observation_count AS observations,
       round(100.0 * a.observation_count / nullif((SELECT sum(s.observation_count) FROM @extschema@.asn_inventory s), 0), 2) AS share_percent,
       a.first_seen_at, a.last_seen_at
FROM @extschema@.asn_inventory a WHERE a.ip_count > 0
ORDER BY a.observation_count DESC, a.ip_count DESC, a.asn_number;
COMMENT ON VIEW @extschema@.top_networks IS 'autonomous systems by observations, most first; cheap: reads only asn_inventory';
COMMENT ON COLUMN @extschema@.top_networks.asn_number IS 'AS number';
COMMENT ON COLUMN @extschema@.top_networks.asn_org IS 'name of the AS';
COMMENT ON COLUMN @extschema@.top_networks.country_code IS 'country of the registration (Team Cymru); null where it was not asked';
COMMENT ON COLUMN @extschema@.top_networks.addresses IS 'distinct addresses that belong to it now';
COMMENT ON COLUMN @extschema@.top_networks.observations IS 'observations of these addresses';
COMMENT ON COLUMN @extschema@.top_networks.share_percent IS 'share of the observations of all networks';
COMMENT ON COLUMN @extschema@.top_networks.first_seen_at IS 'earliest observation of one of its addresses';
COMMENT ON COLUMN @extschema@.top_networks.last_seen_at IS 'latest observation of one of its addresses';

CREATE VIEW @extschema@.top_lists AS
SELECT n.name AS list, count(*) AS addresses, least(sum(i.observation_count), 9223372036854775807)::bigint AS observations,
       min(i.first_seen_at) AS first_seen_at, max(i.last_seen_at) AS last_seen_at
FROM @extschema@.ip_inventory i, unnest(i.lists) AS n(name) WHERE i.lists IS NOT NULL
GROUP BY n.name ORDER BY addresses DESC, observations DESC, list;
COMMENT ON VIEW @extschema@.top_lists IS 'lists of networks by addresses of the inventory that they hold, most first; reads the whole inventory';
COMMENT ON COLUMN @extschema@.top_lists.list IS 'name of the list';
COMMENT ON COLUMN @extschema@.top_lists.addresses IS 'addresses of the inventory that it holds';
COMMENT ON COLUMN @extschema@.top_lists.observations IS 'observations of these addresses';
COMMENT ON COLUMN @extschema@.top_lists.first_seen_at IS 'earliest observation of one of them';
COMMENT ON COLUMN @extschema@.top_lists.last_seen_at IS 'latest observation of one of them';

CREATE VIEW @extschema@.ip_sightings AS
SELECT s.ip_address, coalesce(nullif(l.tbl::text, l.tbl::oid::text), l.name) AS tbl, l.sensor, s.first_seen_at, s.last_seen_at,
       s.observation_count AS observations
FROM @extschema@.ip_sighting s JOIN @extschema@.ip_sighting_source l ON l.id = s.source_id;
COMMENT ON VIEW @extschema@.ip_sightings IS 'who saw an address: a row for each attached table and, where attach_ip_source names one, each sensor; finds an address by index';
COMMENT ON COLUMN @extschema@.ip_sightings.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.ip_sightings.tbl IS 'the attached table';
COMMENT ON COLUMN @extschema@.ip_sightings.sensor IS 'the sensor that its rows name; empty: none';
COMMENT ON COLUMN @extschema@.ip_sightings.first_seen_at IS 'earliest observation there';
COMMENT ON COLUMN @extschema@.ip_sightings.last_seen_at IS 'latest observation there';
COMMENT ON COLUMN @extschema@.ip_sightings.observations IS 'how often it was observed there';

CREATE VIEW @extschema@.ip_sensors AS
SELECT coalesce(nullif(l.tbl::text, l.tbl::oid::text), l.name) AS tbl, l.sensor, least(l.first_seen_at, s.first_seen_at) AS first_seen_at,
       greatest(l.last_seen_at, s.last_seen_at) AS last_seen_at, coalesce(s.addresses, 0) AS addresses,
       coalesce(s.observations, 0) AS observations, l.left_out
FROM @extschema@.ip_sighting_source l
LEFT JOIN (SELECT s.source_id, min(s.first_seen_at) AS first_seen_at, max(s.last_seen_at) AS last_seen_at, count(*) AS addresses, least(sum(s.observation_count), 9223372036854775807)::bigint AS observations
           FROM @extschema@.ip_sighting s GROUP BY 1) s ON s.source_id = l.id
ORDER BY 1, 2;
COMMENT ON VIEW @extschema@.ip_sensors IS 'attached tables and their sensors: when each saw something, and how much; reads all of ip_sighting';
COMMENT ON COLUMN @extschema@.ip_sensors.tbl IS 'the attached table';
COMMENT ON COLUMN @extschema@.ip_sensors.sensor IS 'the sensor that its rows name; empty: none';
COMMENT ON COLUMN @extschema@.ip_sensors.first_seen_at IS 'earliest observation there';
COMMENT ON COLUMN @extschema@.ip_sensors.last_seen_at IS 'latest observation there';
COMMENT ON COLUMN @extschema@.ip_sensors.addresses IS 'distinct addresses observed there';
COMMENT ON COLUMN @extschema@.ip_sensors.observations IS 'observations of these addresses there';
COMMENT ON COLUMN @extschema@.ip_sensors.left_out IS 'observations that ip_sighting lacks because of asn_inventory.sightings_max_size';

CREATE VIEW @extschema@.new_networks AS
-- By itself: Citus takes no correlated question, and no other in a list of columns.
WITH moved AS MATERIALIZED (
    SELECT h.new_asn, min(h.changed_at) AS first FROM @extschema@.ip_asn_history h
    WHERE h.old_asn IS DISTINCT FROM h.new_asn AND h.changed_at > now() - interval '7 days' GROUP BY h.new_asn)
SELECT a.asn_number, a.asn_org, a.country_code, a.first_seen_at, a.last_seen_at, a.ip_count AS addresses,
       a.observation_count AS observations, a.known_since,
       -- known_since alone would be the time at which they were loaded, for all of them.
       CASE WHEN m.new_asn IS NOT NULL THEN a.known_since ELSE a.first_seen_at END AS since
-- Addresses that are known from before, which moved there before any was counted for it: it had none until then.
FROM @extschema@.asn_inventory a
    LEFT JOIN moved m ON m.new_asn = a.asn_number AND m.first <= a.known_since AND a.known_since > now() - interval '7 days'
WHERE a.ip_count > 0 AND (a.first_seen_at > now() - interval '7 days' OR m.new_asn IS NOT NULL)
ORDER BY since DESC, a.observation_count DESC, a.asn_number;
COMMENT ON VIEW @extschema@.new_networks IS 'autonomous systems first seen in the last 7 days, or to which known addresses moved as its first ones, newest first, of the same moment those with most observations; cheap: reads only asn_inventory and ip_asn_history';
COMMENT ON COLUMN @extschema@.new_networks.asn_number IS 'AS number';
COMMENT ON COLUMN @extschema@.new_networks.asn_org IS 'name of the AS';
COMMENT ON COLUMN @extschema@.new_networks.country_code IS 'country of the registration (Team Cymru); null where it was not asked';
COMMENT ON COLUMN @extschema@.new_networks.first_seen_at IS 'earliest observation of one of its addresses';
COMMENT ON COLUMN @extschema@.new_networks.last_seen_at IS 'latest observation of one of its addresses';
COMMENT ON COLUMN @extschema@.new_networks.addresses IS 'distinct addresses that belong to it now';
COMMENT ON COLUMN @extschema@.new_networks.observations IS 'observations of these addresses';
COMMENT ON COLUMN @extschema@.new_networks.known_since IS 'when an address was first counted for it; null: before version 0.3.0';
COMMENT ON COLUMN @extschema@.new_networks.since IS 'since when it is new: known_since where known addresses moved to it in these days as its first ones, else first_seen_at';

CREATE VIEW @extschema@.new_addresses AS
SELECT i.ip_address, i.first_seen_at, i.last_seen_at, i.observation_count AS observations, i.ip_class, i.asn_number,
       i.asn_org, i.country_code, i.city, i.scanner_classification
FROM @extschema@.ip_inventory i WHERE i.observation_count > 0 AND i.first_seen_at > now() - interval '7 days'
ORDER BY i.first_seen_at DESC, i.ip_address;
COMMENT ON VIEW @extschema@.new_addresses IS 'addresses first seen in the last 7 days, newest first; reads all of ip_inventory';
COMMENT ON COLUMN @extschema@.new_addresses.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.new_addresses.first_seen_at IS 'earliest observation';
COMMENT ON COLUMN @extschema@.new_addresses.last_seen_at IS 'latest observation';
COMMENT ON COLUMN @extschema@.new_addresses.observations IS 'how often it was observed';
COMMENT ON COLUMN @extschema@.new_addresses.ip_class IS 'public, private, loopback and so on';
COMMENT ON COLUMN @extschema@.new_addresses.asn_number IS 'origin AS';
COMMENT ON COLUMN @extschema@.new_addresses.asn_org IS 'organization of the origin AS';
COMMENT ON COLUMN @extschema@.new_addresses.country_code IS 'ISO 3166-1 alpha-2';
COMMENT ON COLUMN @extschema@.new_addresses.city IS 'English name';
COMMENT ON COLUMN @extschema@.new_addresses.scanner_classification IS 'GreyNoise: benign, malicious or unknown';

CREATE VIEW @extschema@.asn_changes AS
SELECT h.changed_at, h.ip_address, h.old_asn, o.asn_org AS old_org, h.old_source, h.new_asn, n.asn_org AS new_org,
       h.new_source
FROM @extschema@.ip_asn_history h
LEFT JOIN @extschema@.asn_inventory o ON o.asn_number = h.old_asn
LEFT JOIN @extschema@.asn_inventory n ON n.asn_number = h.new_asn
-- The others are changes of the country alone.
WHERE h.old_asn IS DISTINCT FROM h.new_asn
ORDER BY h.changed_at DESC, h.ip_address;
COMMENT ON VIEW @extschema@.asn_changes IS 'addresses that moved to another AS, latest first; reads ip_asn_history: all of it, or one address by index';
COMMENT ON COLUMN @extschema@.asn_changes.changed_at IS 'when the new answer was written';
COMMENT ON COLUMN @extschema@.asn_changes.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.asn_changes.old_asn IS 'the ASN until then; null: none was known any more, as the change before says';
COMMENT ON COLUMN @extschema@.asn_changes.old_org IS 'present name of that AS';
COMMENT ON COLUMN @extschema@.asn_changes.old_source IS 'source of the old ASN';
COMMENT ON COLUMN @extschema@.asn_changes.new_asn IS 'the ASN from then on; null: no longer known';
COMMENT ON COLUMN @extschema@.asn_changes.new_org IS 'present name of that AS';
COMMENT ON COLUMN @extschema@.asn_changes.new_source IS 'source of the new ASN';

-- By the first day alone: which of an address's observations fell on which later day is not kept.
CREATE VIEW @extschema@.new_addresses_by_day AS
SELECT (i.first_seen_at AT TIME ZONE 'UTC')::date AS day, i.country_code, count(*) AS new_addresses,
       least(sum(i.observation_count), 9223372036854775807)::bigint AS observations_since,
       count(*) FILTER (WHERE i.country_source = 'cymru') AS by_registration
FROM @extschema@.ip_inventory i WHERE i.observation_count > 0
GROUP BY 1, 2
ORDER BY 1 DESC, 3 DESC, 2;
COMMENT ON VIEW @extschema@.new_addresses_by_day IS 'addresses first seen on a day (UTC), by hosting country, latest day first: each address counts on its first day only; reads all of ip_inventory';
COMMENT ON COLUMN @extschema@.new_addresses_by_day.day IS 'day of the first observation, UTC';
COMMENT ON COLUMN @extschema@.new_addresses_by_day.country_code IS 'ISO 3166-1 alpha-2; null: no source knows';
COMMENT ON COLUMN @extschema@.new_addresses_by_day.new_addresses IS 'addresses first seen that day';
COMMENT ON COLUMN @extschema@.new_addresses_by_day.observations_since IS 'total observations of these addresses from that day until now';
COMMENT ON COLUMN @extschema@.new_addresses_by_day.by_registration IS 'addresses for which only the country of the registration is known';

CREATE VIEW @extschema@.countries_by_day AS
SELECT (c.bucket AT TIME ZONE 'UTC')::date AS day, nullif(c.value, '') AS country_code, c.addresses, c.observations
FROM @extschema@.ip_activity_count c WHERE c.by_day AND c.kind = 'country'
ORDER BY c.bucket DESC, c.observations DESC, c.value;
COMMENT ON VIEW @extschema@.countries_by_day IS 'addresses and observations of each day by country, latest day first; cheap: reads counts that the worker makes';
COMMENT ON COLUMN @extschema@.countries_by_day.day IS 'day of the events'' own times, UTC';
COMMENT ON COLUMN @extschema@.countries_by_day.country_code IS 'ISO 3166-1 alpha-2, as ip_inventory had it when the day was counted; null: no source knew';
COMMENT ON COLUMN @extschema@.countries_by_day.addresses IS 'distinct addresses observed in that time';
COMMENT ON COLUMN @extschema@.countries_by_day.observations IS 'observations of these addresses in that time';

CREATE VIEW @extschema@.networks_by_day AS
SELECT (c.bucket AT TIME ZONE 'UTC')::date AS day, nullif(c.value, '')::bigint AS asn_number, a.asn_org, c.addresses, c.observations
FROM @extschema@.ip_activity_count c LEFT JOIN @extschema@.asn_inventory a ON a.asn_number = nullif(c.value, '')::bigint
WHERE c.by_day AND c.kind = 'asn'
ORDER BY c.bucket DESC, c.observations DESC, c.value;
COMMENT ON VIEW @extschema@.networks_by_day IS 'addresses and observations of each day by autonomous system, latest day first; cheap: reads counts that the worker makes';
COMMENT ON COLUMN @extschema@.networks_by_day.day IS 'day of the events'' own times, UTC';
COMMENT ON COLUMN @extschema@.networks_by_day.asn_number IS 'AS number, as ip_inventory had it when the day was counted; null: no source knew';
COMMENT ON COLUMN @extschema@.networks_by_day.asn_org IS 'present name of the AS';
COMMENT ON COLUMN @extschema@.networks_by_day.addresses IS 'distinct addresses observed in that time';
COMMENT ON COLUMN @extschema@.networks_by_day.observations IS 'observations of these addresses in that time';

CREATE VIEW @extschema@.activity_by_day AS
SELECT (c.bucket AT TIME ZONE 'UTC')::date AS day, c.kind, nullif(c.value, '') AS value, c.addresses, c.observations
FROM @extschema@.ip_activity_count c WHERE c.by_day
ORDER BY c.bucket DESC, c.kind, c.observations DESC, c.value;
COMMENT ON VIEW @extschema@.activity_by_day IS 'addresses and observations of each day: in all, and by country, AS, flag and list; cheap: reads counts that the worker makes';
COMMENT ON COLUMN @extschema@.activity_by_day.day IS 'day of the events'' own times, UTC';
COMMENT ON COLUMN @extschema@.activity_by_day.kind IS 'all, country, asn, flag or list';
COMMENT ON COLUMN @extschema@.activity_by_day.value IS 'country, AS number, flag or list; null: unknown, or all';
COMMENT ON COLUMN @extschema@.activity_by_day.addresses IS 'distinct addresses observed in that time';
COMMENT ON COLUMN @extschema@.activity_by_day.observations IS 'observations of these addresses in that time';

CREATE VIEW @extschema@.activity_by_hour AS
SELECT c.bucket AS hour, c.kind, nullif(c.value, '') AS value, c.addresses, c.observations
FROM @extschema@.ip_activity_count c WHERE NOT c.by_day
ORDER BY c.bucket DESC, c.kind, c.observations DESC, c.value;
COMMENT ON VIEW @extschema@.activity_by_hour IS 'the same of each hour, as long as asn_inventory.activity_hours keeps hours';
COMMENT ON COLUMN @extschema@.activity_by_hour.hour IS 'beginning of the hour of the events'' own times';
COMMENT ON COLUMN @extschema@.activity_by_hour.kind IS 'all, country, asn, flag or list';
COMMENT ON COLUMN @extschema@.activity_by_hour.value IS 'country, AS number, flag or list; null: unknown, or all';
COMMENT ON COLUMN @extschema@.activity_by_hour.addresses IS 'distinct addresses observed in that time';
COMMENT ON COLUMN @extschema@.activity_by_hour.observations IS 'observations of these addresses in that time';

-- Distinct addresses of several days are not the sum of theirs, so what is given is the largest day.
-- One function for dates, times and literals: with one for dates beside it, a literal would mean a time, and its day be another
-- one east of Greenwich. A date becomes midnight of the session's zone, which is read as that date.
CREATE FUNCTION @extschema@.top_networks(since timestamptz, until timestamptz DEFAULT NULL)
    RETURNS TABLE (asn_number bigint, asn_org text, observations bigint, share_percent numeric, most_addresses_a_day bigint, days bigint,
                   first_day date, last_day date)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    -- Here, and not on the nodes of a cluster, whose zone may be another.
    from_day timestamptz := (CASE WHEN $1 = date_trunc('day', $1) THEN $1::date ELSE ($1 AT TIME ZONE 'UTC')::date END)::timestamp AT TIME ZONE 'UTC';
    to_day timestamptz := (CASE WHEN $2 = date_trunc('day', $2) THEN $2::date ELSE ($2 AT TIME ZONE 'UTC')::date END)::timestamp AT TIME ZONE 'UTC';
BEGIN
    RETURN QUERY
        SELECT n.asn_number, a.asn_org, n.observations, round(100.0 * n.observations / nullif(sum(n.observations) OVER (), 0), 2), n.most, n.days, n.first, n.last
        FROM (SELECT nullif(c.value, '')::bigint AS asn_number, least(sum(c.observations), 9223372036854775807)::bigint AS observations,
                     max(c.addresses) AS most, count(*) AS days, min((c.bucket AT TIME ZONE 'UTC')::date) AS first, max((c.bucket AT TIME ZONE 'UTC')::date) AS last
              FROM @extschema@.ip_activity_count c
              -- As in the view, what belongs to no network is left out, of the total too.
              WHERE c.by_day AND c.kind = 'asn' AND c.value <> '' AND c.bucket >= from_day AND (to_day IS NULL OR c.bucket <= to_day)
              GROUP BY c.value) n
        LEFT JOIN @extschema@.asn_inventory a ON a.asn_number = n.asn_number
        ORDER BY n.observations DESC, n.asn_number;
END $$;
COMMENT ON FUNCTION @extschema@.top_networks(timestamptz, timestamptz) IS 'autonomous systems by observations in days of the events'' own times (UTC), from the day of one time to that of another, both included (without until, up to the latest), most first: share of the observations of all networks, most distinct addresses on one day, number of days, first and last of them. A date is that day, any other time the day in UTC in which it lies';

-- broadcast() has the netmask of its network, and so comes before every host of it: a range of hosts ends at this.
CREATE FUNCTION @extschema@.ip_last(network cidr) RETURNS inet
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    BEGIN ATOMIC
        SELECT set_masklen(broadcast(network), CASE family(network) WHEN 4 THEN 32 ELSE 128 END);
    END;
COMMENT ON FUNCTION @extschema@.ip_last(cidr) IS 'the last host address of a network, for joins by index: i.ip_address >= n.network AND i.ip_address <= ip_last(n.network)';

-- Networks inside of others are left out: ordered by their beginning, those end before one that came earlier.
-- IPv4-mapped ones are folded as in ip_asn_at(), with any spelling of off.
CREATE FUNCTION @extschema@.ip_addresses_in(networks cidr[]) RETURNS SETOF @extschema@.ip_inventory
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000
    BEGIN ATOMIC
        SELECT s.found
        FROM (SELECT o.network, o.last
              FROM (SELECT k.network, @extschema@.ip_last(k.network) AS last,
                           max(@extschema@.ip_last(k.network)) OVER (ORDER BY k.network ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                    FROM (SELECT DISTINCT CASE WHEN n <<= inet '::ffff:0.0.0.0/96' AND coalesce(current_setting('asn_inventory.fold_ipv4_mapped', true), '') !~* '^(off?|no?|f(a(l(se?)?)?)?|0)$'
                                               THEN set_masklen(inet '0.0.0.0' + (host(n)::inet - inet '::ffff:0.0.0.0'), masklen(n) - 96)::cidr ELSE n END AS network
                          FROM unnest(networks) n WHERE n IS NOT NULL) k) o
              WHERE o.before IS NULL OR o.last > o.before) r
        -- Planned by itself, for one range: as a join, the planner would expect a ninth of the inventory in each.
        CROSS JOIN LATERAL (SELECT i AS found FROM @extschema@.ip_inventory i
                            WHERE i.ip_address >= r.network AND i.ip_address <= r.last OFFSET 0) s;
    END;
COMMENT ON FUNCTION @extschema@.ip_addresses_in(cidr[]) IS 'the rows of ip_inventory in networks, by index, each once';

CREATE FUNCTION @extschema@.ip_network_at(ip inet, at timestamptz) RETURNS TABLE (asn_number bigint, asn_org text, country_code text)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
    BEGIN ATOMIC
        SELECT s.asn, coalesce(h.old_org, CASE WHEN s.asn = i.asn_number THEN i.asn_org ELSE a.asn_org END),
               CASE WHEN h.kept OR h.is_of_country THEN h.old_country_code WHEN s.asn = i.asn_number THEN i.country_code ELSE a.country_code END
        -- Without a time there is no answer: a comparison with null would let that of today stand for it.
        FROM (SELECT CASE WHEN at IS NULL THEN NULL
                          WHEN host(ip)::inet <<= inet '::ffff:0.0.0.0/96' AND coalesce(current_setting('asn_inventory.fold_ipv4_mapped', true), '') !~* '^(off?|no?|f(a(l(se?)?)?)?|0)$'
                          THEN inet '0.0.0.0' + (host(ip)::inet - inet '::ffff:0.0.0.0') ELSE host(ip)::inet END AS address) k
        LEFT JOIN @extschema@.ip_inventory i ON i.ip_address = k.address
        LEFT JOIN LATERAL (SELECT c.old_asn, c.old_org, c.old_country_code,
                                  num_nonnulls(c.old_org, c.old_country_code, c.new_country_code) > 0 AS kept,
                                  c.old_asn IS NOT DISTINCT FROM c.new_asn AS is_of_country, true AS is_there FROM @extschema@.ip_asn_history c
                           WHERE c.ip_address = k.address AND c.changed_at > at ORDER BY c.changed_at LIMIT 1) h ON true
        -- Until that change there may have been none.
        CROSS JOIN LATERAL (SELECT CASE WHEN h.is_there THEN h.old_asn ELSE i.asn_number END AS asn) s
        LEFT JOIN @extschema@.asn_inventory a ON a.asn_number = s.asn;
    END;
COMMENT ON FUNCTION @extschema@.ip_network_at(inet, timestamptz) IS 'the AS that was stored for an address at a time, with the organization and the country that were stored with it. Where those were not kept (before version 0.3.0): those of the address where the AS is still its own, else those of the AS. For joins: FROM events e, ip_network_at(e.ip, e.at)';

-- scanner_ts is not null in every row that GreyNoise answered for: its index finds them where they are few.
CREATE VIEW @extschema@.known_scanners AS
SELECT i.ip_address, nullif(i.scanner_name, 'unknown') AS scanner_name, coalesce(i.scanner_classification, 'unknown') AS classification,
       i.scanner_last_seen, i.scanner_ts AS asked_at, i.asn_number, i.asn_org, i.country_code,
       i.observation_count AS observations, i.first_seen_at, i.last_seen_at
FROM @extschema@.ip_inventory i
WHERE i.scanner_ts IS NOT NULL AND i.scanner_noise AND i.scanner_classification IS DISTINCT FROM 'benign'
ORDER BY i.observation_count DESC, i.ip_address;
COMMENT ON VIEW @extschema@.known_scanners IS 'addresses that GreyNoise has seen scanning, malicious or unknown, most observed first; reads every row that GreyNoise answered';
COMMENT ON COLUMN @extschema@.known_scanners.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.known_scanners.scanner_name IS 'name of the scanner, where GreyNoise has one';
COMMENT ON COLUMN @extschema@.known_scanners.classification IS 'malicious or unknown';
COMMENT ON COLUMN @extschema@.known_scanners.scanner_last_seen IS 'when GreyNoise last saw it';
COMMENT ON COLUMN @extschema@.known_scanners.asked_at IS 'when GreyNoise gave this answer';
COMMENT ON COLUMN @extschema@.known_scanners.asn_number IS 'origin AS';
COMMENT ON COLUMN @extschema@.known_scanners.asn_org IS 'organization of the origin AS';
COMMENT ON COLUMN @extschema@.known_scanners.country_code IS 'ISO 3166-1 alpha-2';
COMMENT ON COLUMN @extschema@.known_scanners.observations IS 'how often it was observed here';
COMMENT ON COLUMN @extschema@.known_scanners.first_seen_at IS 'earliest observation here';
COMMENT ON COLUMN @extschema@.known_scanners.last_seen_at IS 'latest observation here';

CREATE VIEW @extschema@.benign_services AS
SELECT i.ip_address, i.scanner_name AS service_name, i.scanner_classification AS classification,
       i.scanner_noise AS scans, i.scanner_riot AS business_service, i.scanner_last_seen, i.scanner_ts AS asked_at,
       i.asn_number, i.asn_org, i.country_code, i.observation_count AS observations, i.first_seen_at, i.last_seen_at
FROM @extschema@.ip_inventory i
WHERE i.scanner_ts IS NOT NULL AND (i.scanner_riot OR i.scanner_classification = 'benign')
ORDER BY i.observation_count DESC, i.ip_address;
COMMENT ON VIEW @extschema@.benign_services IS 'addresses of common business services (RIOT) and benign scanners, by GreyNoise, most observed first; reads every row that GreyNoise answered';
COMMENT ON COLUMN @extschema@.benign_services.ip_address IS 'the address';
COMMENT ON COLUMN @extschema@.benign_services.service_name IS 'name of the service or scanner';
COMMENT ON COLUMN @extschema@.benign_services.classification IS 'benign, malicious or unknown: a business service may be any';
COMMENT ON COLUMN @extschema@.benign_services.scans IS 'seen scanning the internet';
COMMENT ON COLUMN @extschema@.benign_services.business_service IS 'belongs to a common business service (RIOT)';
COMMENT ON COLUMN @extschema@.benign_services.scanner_last_seen IS 'when GreyNoise last saw it';
COMMENT ON COLUMN @extschema@.benign_services.asked_at IS 'when GreyNoise gave this answer';
COMMENT ON COLUMN @extschema@.benign_services.asn_number IS 'origin AS';
COMMENT ON COLUMN @extschema@.benign_services.asn_org IS 'organization of the origin AS';
COMMENT ON COLUMN @extschema@.benign_services.country_code IS 'ISO 3166-1 alpha-2';
COMMENT ON COLUMN @extschema@.benign_services.observations IS 'how often it was observed here';
COMMENT ON COLUMN @extschema@.benign_services.first_seen_at IS 'earliest observation here';
COMMENT ON COLUMN @extschema@.benign_services.last_seen_at IS 'latest observation here';

CREATE VIEW @extschema@.scanner_networks AS
SELECT s.asn_number, a.asn_org, s.asked, s.scanners, s.malicious, s.benign, a.ip_count AS addresses
FROM (SELECT i.asn_number, count(*) AS asked, count(*) FILTER (WHERE i.scanner_noise) AS scanners,
             count(*) FILTER (WHERE i.scanner_noise AND i.scanner_classification = 'malicious') AS malicious,
             count(*) FILTER (WHERE i.scanner_riot OR i.scanner_classification = 'benign') AS benign
      FROM @extschema@.ip_inventory i WHERE i.scanner_ts IS NOT NULL AND i.asn_number IS NOT NULL GROUP BY 1) s
LEFT JOIN @extschema@.asn_inventory a ON a.asn_number = s.asn_number
WHERE s.scanners > 0
ORDER BY s.scanners DESC, s.asn_number;
COMMENT ON VIEW @extschema@.scanner_networks IS 'autonomous systems by known scanners, most first; reads every row that GreyNoise answered';
COMMENT ON COLUMN @extschema@.scanner_networks.asn_number IS 'AS number';
COMMENT ON COLUMN @extschema@.scanner_networks.asn_org IS 'name of the AS';
COMMENT ON COLUMN @extschema@.scanner_networks.asked IS 'addresses of this AS that GreyNoise answered';
COMMENT ON COLUMN @extschema@.scanner_networks.scanners IS 'addresses seen scanning the internet';
COMMENT ON COLUMN @extschema@.scanner_networks.malicious IS 'malicious ones of the scanners';
COMMENT ON COLUMN @extschema@.scanner_networks.benign IS 'business services and benign scanners';
COMMENT ON COLUMN @extschema@.scanner_networks.addresses IS 'all addresses of this AS in ip_inventory';

-- Dated events in the order of time; then the present state.
CREATE FUNCTION @extschema@.ip_story(ip inet) RETURNS TABLE (at timestamptz, event text, source text, detail text)
    LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    -- Fetched one by one, by values: where Citus distributes these tables it takes no larger query.
    -- The address under which an IPv4-mapped one is kept.
    asked_about inet := CASE WHEN host($1)::inet <<= inet '::ffff:0.0.0.0/96' AND coalesce(current_setting('asn_inventory.fold_ipv4_mapped', true), '') !~* '^(off?|no?|f(a(l(se?)?)?)?|0)$'
        THEN inet '0.0.0.0' + (host($1)::inet - inet '::ffff:0.0.0.0') ELSE host($1)::inet END;
    entries @extschema@.ip_inventory[] := ARRAY(SELECT i FROM @extschema@.ip_inventory i WHERE i.ip_address = asked_about);
    changes @extschema@.ip_asn_history[] := ARRAY(SELECT h FROM @extschema@.ip_asn_history h WHERE h.ip_address = asked_about);
    prefixes @extschema@.cymru_prefix[] := ARRAY(
        -- The narrowest network that Team Cymru answered for.
        SELECT p FROM @extschema@.cymru_prefix p WHERE p.prefix >>= asked_about ORDER BY masklen(p.prefix) DESC LIMIT 1);
    seen @extschema@.ip_sighting[];
    places @extschema@.ip_sighting_source[];
    offline_asn bigint := (SELECT l.asn_number FROM @extschema@.lookup_ip(asked_about) l);
    networks @extschema@.asn_inventory[] := ARRAY(
        SELECT n FROM @extschema@.asn_inventory n
        WHERE n.asn_number = ANY (ARRAY(SELECT asn_number FROM unnest(entries) UNION SELECT old_asn FROM unnest(changes)
                                        UNION SELECT new_asn FROM unnest(changes) UNION SELECT offline_asn
                                        UNION SELECT origins[1] FROM unnest(prefixes))));
BEGIN
    -- A role may have been given the inventory before there were sightings.
    IF has_table_privilege('@extschema@.ip_sighting', 'SELECT') AND has_table_privilege('@extschema@.ip_sighting_source', 'SELECT') THEN
        -- As a text: Citus would hand over every variable.
        EXECUTE 'SELECT ARRAY(SELECT s FROM @extschema@.ip_sighting s WHERE s.ip_address = $1
                              ORDER BY s.observation_count DESC, s.source_id LIMIT 20)' INTO seen USING asked_about;
        places := ARRAY(SELECT l FROM @extschema@.ip_sighting_source l WHERE l.id IN (SELECT source_id FROM unnest(seen)));
    END IF;
    RETURN QUERY
        WITH asked AS MATERIALIZED (SELECT asked_about AS ip),
        entry AS MATERIALIZED (SELECT * FROM unnest(entries)),
        change AS MATERIALIZED (SELECT * FROM unnest(changes)),
        offline AS MATERIALIZED (SELECT l.* FROM asked a, @extschema@.lookup_ip(a.ip) l WHERE NOT EXISTS (SELECT FROM entry)),
        prefix AS MATERIALIZED (SELECT * FROM unnest(prefixes)),
        known_network AS MATERIALIZED (SELECT * FROM unnest(networks)),
        story (at, step, event, source, detail) AS (
            SELECT first_seen_at, 1, CASE WHEN observation_count > 0 THEN 'first seen' ELSE 'asked about' END, NULL,
                   CASE WHEN observation_count = 0 THEN 'never observed' WHEN observation_count = 1 THEN 'observed once' END
            FROM entry
            UNION ALL
            SELECT last_seen_at, 9, 'last seen', NULL, 'observed ' || observation_count || ' times'
            FROM entry WHERE observation_count > 1
            UNION ALL
            -- The 20 that saw it most, where there is more than one, or a sensor.
            SELECT s.first_seen_at, 1, 'seen by', NULL,
                   concat_ws(', ', coalesce((SELECT t.oid::regclass::text FROM pg_class t WHERE t.oid = l.tbl), l.name), 'sensor ' || nullif(l.sensor, ''),
                             CASE s.observation_count WHEN 1 THEN 'once' ELSE s.observation_count || ' times, last '
                                 || to_char(s.last_seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') END)
            FROM unnest(seen) s JOIN unnest(places) l ON l.id = s.source_id
            WHERE cardinality(seen) > 1 OR l.sensor <> ''
            UNION ALL
            -- Dated by the first observation: when the first answer came is not kept.
            (SELECT least(e.first_seen_at, c.changed_at), 2, 'network then', c.old_source,
                    coalesce(nullif(concat_ws(' ', 'AS' || c.old_asn, n.asn_org), ''), 'none: no source knew it any more')
             FROM change c LEFT JOIN entry e ON true LEFT JOIN known_network n ON n.asn_number = c.old_asn
             WHERE c.old_asn IS DISTINCT FROM c.new_asn
             ORDER BY c.changed_at LIMIT 1)
            UNION ALL
            SELECT c.changed_at, 3, 'network changed', c.new_source,
                   concat_ws(' ', coalesce('from AS' || c.old_asn, 'from none'), o.asn_org,
                             coalesce('to AS' || c.new_asn, 'to none: no source knows it any more'), n.asn_org)
            FROM change c LEFT JOIN known_network o ON o.asn_number = c.old_asn
            LEFT JOIN known_network n ON n.asn_number = c.new_asn
            WHERE c.old_asn IS DISTINCT FROM c.new_asn
            UNION ALL
            SELECT c.changed_at, 3, 'country changed', NULL,
                   concat('from ', c.old_country_code, coalesce(' to ' || c.new_country_code, ' to none: no source knows it any more'))
            FROM change c WHERE c.old_country_code <> coalesce(c.new_country_code, '')
            UNION ALL
            SELECT p.answered_at, 4, 'announced', 'cymru',
                   CASE WHEN p.announced IS NULL THEN concat('no route for ', p.prefix)
                        ELSE concat_ws(', ', concat(p.announced, ' by AS', array_to_string(p.origins, ' and AS')),
                                       p.country_code, p.registry, 'allocated ' || to_char(p.allocated, 'YYYY-MM-DD')) END
                   || ', valid until ' || to_char(p.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')
            FROM prefix p
            UNION ALL
            SELECT maxmind_ts, 5, replace(maxmind_status, '_', ' '), 'maxmind', nullif(concat_ws(', ',
                       CASE WHEN asn_source = 'maxmind' THEN concat_ws(' ', 'AS' || asn_number, asn_org) END,
                       CASE WHEN country_source = 'maxmind' THEN concat_ws(', ', country_code, region, city) END,
                       CASE WHEN asn_source IS DISTINCT FROM 'cymru' THEN network END), '')
            FROM entry WHERE maxmind_status IN ('found', 'not_found')
            UNION ALL
            SELECT cymru_ts, 6, replace(cymru_status, '_', ' '), 'cymru',
                   CASE WHEN cymru_status = 'not_found' THEN 'no route'
                        WHEN asn_source = 'cymru'
                        THEN concat_ws(', ', concat_ws(' ', 'AS' || asn_number, asn_org), network,
                                       CASE WHEN country_source = 'cymru' THEN country_code || ' (registration)' END) END
            FROM entry WHERE cymru_status IN ('found', 'not_found')
            UNION ALL
            SELECT scanner_last_seen, 7, 'seen scanning', 'greynoise',
                   concat_ws(', ', scanner_classification, nullif(scanner_name, 'unknown'))
            FROM entry WHERE scanner_noise AND scanner_last_seen IS NOT NULL
            UNION ALL
            SELECT scanner_ts, 8, replace(greynoise_status, '_', ' '), 'greynoise', CASE
                       WHEN greynoise_status = 'not_found' THEN 'neither a scanner nor a business service'
                       ELSE concat_ws(', ', CASE WHEN scanner_noise THEN 'scans the internet' END,
                                      CASE WHEN scanner_riot THEN 'common business service' END,
                                      scanner_classification, nullif(scanner_name, 'unknown')) END
            FROM entry WHERE greynoise_status IN ('found', 'not_found')
            UNION ALL
            -- Without an answer, or with an old one that could not be renewed. Retry times lie ahead.
            SELECT s.retry_at, 10, CASE WHEN s.retry_at IS NULL THEN replace(s.status, '_', ' ') ELSE 'asked again' END,
                   s.source, CASE WHEN s.retry_at IS NOT NULL
                       THEN concat_ws(', ', nullif(s.attempts, 0) || ' failed', s.detail)
                       ELSE coalesce(s.detail, CASE WHEN s.status = 'pending' THEN 'not asked yet'
                                WHEN s.status = 'unavailable' THEN 'no mmdb file was installed'
                                WHEN s.class <> 'public' THEN 'nobody is asked about such addresses'
                                WHEN s.source = 'cymru' AND s.asn_source = 'maxmind' THEN 'MaxMind knows the ASN' END) END
            FROM (SELECT ip_class AS class, asn_source, 'maxmind'::text AS source, maxmind_status AS status,
                         NULL::timestamptz AS retry_at, 0 AS attempts, NULL::text AS detail FROM entry
                  UNION ALL
                  SELECT ip_class, asn_source, 'cymru', cymru_status, cymru_retry_at, cymru_attempts, cymru_detail
                  FROM entry
                  UNION ALL
                  SELECT ip_class, asn_source, 'greynoise', greynoise_status, greynoise_retry_at,
                         greynoise_attempts, greynoise_detail FROM entry) s
            WHERE s.retry_at IS NOT NULL OR s.status NOT IN ('found', 'not_found')
            UNION ALL
            SELECT NULL, 11, 'unknown', NULL, 'not in ip_inventory; this is what can be said offline' FROM offline
            UNION ALL
            SELECT NULL, 12, 'class', NULL, @extschema@.ip_class(a.ip) FROM asked a
            UNION ALL
            -- Now, not when the row was written.
            SELECT NULL, 12, 'in lists', NULL, array_to_string(@extschema@.ip_lists(a.ip), ', ') FROM asked a
            WHERE @extschema@.ip_lists(a.ip) <> '{}'
            UNION ALL
            SELECT NULL, 13, replace(maxmind_status, '_', ' '), 'maxmind', nullif(concat_ws(', ',
                       'AS' || asn_number || coalesce(' ' || asn_org, ''), country_code, region, city, network), '')
            FROM offline
            UNION ALL
            SELECT NULL, 14, 'network', NULL,
                   concat_ws(' ', 'AS' || n.asn_number, n.asn_org) || '; all its addresses here, as counted '
                   || coalesce('at ' || to_char(n.counted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), 'last')
                   || ': ' || n.ip_count || ', observed ' || n.observation_count || ' times together'
            FROM known_network n
            WHERE n.asn_number = coalesce((SELECT asn_number FROM entry), (SELECT asn_number FROM offline),
                                          CASE WHEN EXISTS (SELECT FROM offline) THEN (SELECT origins[1] FROM prefix) END))
        SELECT s.at, s.event, s.source, s.detail FROM story s ORDER BY s.at NULLS LAST, s.step, s.source;
END $$;
COMMENT ON FUNCTION @extschema@.ip_story(inet) IS 'history of an address in the order of time, then its present state; reads by index, asks no source. "last seen" shows observation_count of its row, "network" the counts of all addresses of its AS when the worker last counted them';
