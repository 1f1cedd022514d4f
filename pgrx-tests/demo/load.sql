-- The events of a honeypot (Cowrie), as JSON lines, into a table whose addresses are observed.
CREATE EXTENSION asn_inventory;

CREATE TABLE raw_events (
    event_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_time timestamptz,
    payload    jsonb NOT NULL
);

-- The attacker's address, and the address of the host that a malware URL names.
SELECT attach_ip_source('raw_events', ARRAY['payload->>src_ip', 'payload->>url'], 'event_time');

CREATE TEMP TABLE incoming (line jsonb);
